"""Load the BPF programs, attach them, and hold on to their maps.

Acts on a Plan and decides nothing: what to load is plan.py's business, what
the bytes mean is record.py's.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from whenced.libbpf import BpfError, Libbpf
from whenced.record import ALIVE, CLASSES, CONFIG, COUNT, LOSER, PROCESS, USE, USE_KEY
from whenced.rings import Rings, Sizes
from whenced.syscalls import work_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from whenced.plan import Plan
    from whenced.record import Rows

_ZERO_KEY: Final = bytes(4)
_DRAIN_ROWS: Final = 1 << 14
_ITERATOR_READ_BYTES: Final = 1 << 16


def object_path() -> Path:
    """Path of the compiled programs; raises BpfError with the remedy when absent."""
    path = resources.files("whenced._bpf") / "capture.bpf.o"
    if not path.is_file():
        raise BpfError("the BPF programs are not built: run `make -C bpf`")
    with resources.as_file(path) as real:
        return real


class Capture:
    """The loaded kernel side. A context manager: leaving it detaches everything."""

    def __init__(self, library: Libbpf, plan: Plan, sizes: Sizes) -> None:
        self._library = library
        self._links: list[int] = []
        self._object = library.pointer(
            "cannot open the BPF programs",
            "bpf_object__open_file",
            os.fsencode(object_path()),
            None,
        )
        try:
            for name, size_bytes in asdict(sizes).items():
                self._size(name, size_bytes)
            self._configure(plan)
            for name in plan.left_out:
                library.call("bpf_program__set_autoload", self._program(name), False)
            library.call("bpf_object__load", self._object)
        except BpfError:
            library.close_object(self._object)
            raise
        self._plan = plan
        self._stored_at_swap = 0
        self._retired = self.map_fd("use_second")
        self._active = self.map_fd("use_first")
        self.rings = Rings(self.map_fd, sizes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            self._library.destroy_link(link)
        self.rings.close()
        self._library.close_object(self._object)

    def _map(self, name: str) -> int:
        what = f"no BPF map {name}"
        return self._library.pointer(
            what, "bpf_object__find_map_by_name", self._object, name.encode()
        )

    def _program(self, name: str) -> int:
        what = f"no BPF program {name}"
        return self._library.pointer(
            what, "bpf_object__find_program_by_name", self._object, name.encode()
        )

    def _size(self, name: str, entries: int) -> None:
        self._library.call("bpf_map__set_max_entries", self._map(name), entries)

    def map_fd(self, name: str) -> int:
        """Descriptor of a map."""
        return self._library.call("bpf_map__fd", self._map(name))

    @property
    def probe_fd(self) -> int:
        """Descriptor of the inode probe, for BPF_PROG_TEST_RUN."""
        return self._library.call("bpf_program__fd", self._program("probe"))

    def _configure(self, plan: Plan) -> None:
        """Write struct whence_config into the section that becomes constant at load."""
        size = ctypes.c_size_t()
        address = self._library.pointer(
            "no settings section",
            "bpf_map__initial_value",
            self._map(".rodata.config"),
            ctypes.byref(size),
        )
        self.configuration = _configuration(plan)
        ctypes.memmove(address, self.configuration, size.value)

    def attach(self) -> None:
        """Attach every program of the plan; raises BpfError naming the first that fails."""
        for index, path in enumerate(self._plan.scope_cgroups):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._update("scope_cgroups", index.to_bytes(4, "little"), _four(fd))
            finally:
                os.close(fd)
        for name in self._plan.attached:
            link = self._library.pointer(
                f"cannot attach {name}", "bpf_program__attach", self._program(name)
            )
            self._links.append(link)

    def _update(self, name: str, key: bytes, value: bytes) -> None:
        self._library.update(self.map_fd(name), key, value)

    def walk(self, names: Sequence[str]) -> None:
        """Run iterator programs once; what they find arrives in the rings."""
        for name in names:
            self._iterate(name)

    def alive(self) -> Rows:
        """Return the processes that live now, as ALIVE rows: those of the scope are marked."""
        data = self._iterate("census")
        return np.frombuffer(data[: len(data) // ALIVE.itemsize * ALIVE.itemsize], dtype=ALIVE)

    def _iterate(self, name: str) -> bytes:
        """Run an iterator program once; return what it wrote for its reader."""
        link = self._library.pointer(
            f"cannot attach {name}", "bpf_program__attach", self._program(name)
        )
        fd = self._library.call("bpf_iter_create", self._library.call("bpf_link__fd", link))
        try:
            pieces = []
            while piece := os.read(fd, _ITERATOR_READ_BYTES):
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)
            self._library.destroy_link(link)

    def exclude(self, pid: int, *, flag: bool = True) -> bool:
        """Leave a process and its future descendants out; False when it is gone."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            with suppress(BpfError):  # it ended between the two calls
                self._update("excluded", _four(fd), _four(int(flag)))
                return True
        finally:
            os.close(fd)
        return False

    def swap_uses(self) -> tuple[Rows, Rows]:
        """Retire the aggregate table and return it whole: (USE_KEY rows, USE rows).

        The update of a map of maps returns only after every program that could
        still see the old table has ended (kernel/bpf/syscall.c
        maybe_wait_bpf_programs), so nothing is added behind our back.
        """
        self._stored_at_swap = self.counts()["aggregate"][1]
        self._update("use_now", _ZERO_KEY, _four(self._retired))
        self._active, self._retired = self._retired, self._active
        all_keys, all_uses = [], []
        while True:
            keys, uses = self._drain(self._retired, USE_KEY, USE)
            taken = len(keys)
            all_keys.append(keys)
            all_uses.append(uses)
            if taken < _DRAIN_ROWS:
                return np.concatenate(all_keys), np.concatenate(all_uses)

    def take_losers(self) -> tuple[Rows, Rows]:
        """Take who lost records since the last call: (PROCESS rows, LOSER rows)."""
        return self._drain(self.map_fd("losers"), PROCESS, LOSER)

    def recursion_misses(self) -> dict[str, int]:
        """Return program -> times that the kernel skipped it since the load."""
        return {
            name: self._library.recursion_misses(
                self._library.call("bpf_program__fd", self._program(name))
            )
            for name in self._plan.attached
        }

    def _drain(self, fd: int, key: Any, value: Any) -> tuple[Rows, Rows]:
        """Take rows out of a hash map, as many as one call gives."""
        keys = np.empty(_DRAIN_ROWS, dtype=key)
        values = np.empty(_DRAIN_ROWS, dtype=value)
        taken = self._library.drain_batch(fd, keys.ctypes.data, values.ctypes.data, _DRAIN_ROWS)
        return keys[:taken], values[:taken]

    def rows_since_swap(self) -> int:
        """Rows that the aggregate table in use has got."""
        return self.counts()["aggregate"][1] - self._stored_at_swap

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return class -> (attempted, stored, lost) since the load, over all CPUs."""
        totals = {}
        for index, name in enumerate(CLASSES):
            raw = self._library.look_up(
                self.map_fd("counts"),
                index.to_bytes(4, "little"),
                COUNT.itemsize * self._library.cpu_count,
            )
            rows = np.frombuffer(raw or b"", dtype=COUNT)
            totals[name] = (
                int(rows["attempted"].sum()),
                int(rows["stored"].sum()),
                int(rows["lost"].sum()),
            )
        return totals


def _four(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _configuration(plan: Plan) -> bytes:
    """Return the struct whence_config of a plan."""
    config = np.zeros(1, dtype=CONFIG)
    config["work"], config["work_compat"] = work_tables()
    config["cgroup_count"] = len(plan.scope_cgroups)
    # A cgroup's id is the inode number of its directory (kernfs)
    cgroup_ids = [os.stat(path).st_ino for path in plan.scope_cgroups]  # noqa: PTH116 (text)
    config["cgroup_ids"][0, : len(cgroup_ids)] = cgroup_ids
    config["uid_count"] = len(plan.scope_uids)
    config["uids"][0, : len(plan.scope_uids)] = plan.scope_uids
    config["uring_cqe_argument"] = plan.uring_cqe_argument
    return config.tobytes()
