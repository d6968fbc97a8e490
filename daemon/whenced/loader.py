"""Load the BPF programs, attach them, and hold on to their maps.

Acts on a Plan and decides nothing: what to load is plan.py's business, what
the bytes mean is record.py's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from whenced.kernel_objects import KernelObjects
from whenced.libbpf import BpfError, Libbpf
from whenced.record import ALIVE, CLASSES, CONFIG, CONTROL, COUNT, LOSER, PROCESS, USE, USE_KEY
from whenced.rings import Rings, Sizes
from whenced.syscalls import work_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from whenced.journal import Kernel
    from whenced.kernel_objects import Pins
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
    """The kernel side. A context manager: leaving it detaches what is not kept."""

    def __init__(self, library: Libbpf, plan: Plan, sizes: Sizes, pins: Pins | None = None) -> None:
        """Load; with ``pins`` adopt what stands there, of exactly these programs and settings."""
        self._library, self._plan = library, plan
        self.configuration = _configuration(plan)
        self._pins, named = pins, asdict(sizes)
        self._folder: Path | None = None
        if pins is not None:
            self._folder = pins.folder(object_path(), self.configuration, named)
        self.is_adopted = self._folder is not None and self._folder.is_dir()
        if self.is_adopted and self._folder is not None:
            self._objects = KernelObjects.adopt(library, self._folder)
        else:
            self._objects = KernelObjects.load(
                library, object_path(), named, self.configuration, plan.left_out
            )
        self.is_closed = False
        self._stored_at_swap = 0
        self.table_rows = sizes.use_first
        self._tables = (self.map_fd("use_first"), self.map_fd("use_second"))
        self._active = self._table_in_use() if self.is_adopted else 0
        self.rings = Rings(self.map_fd, sizes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything; once."""
        self.is_closed = True
        self.rings.close()
        self._objects.close()

    def go_on(self, known: Kernel) -> None:
        """Read on where a process that is gone stopped."""
        if known.positions:
            self.rings.go_to(known.positions)

    @property
    def identity(self) -> int:
        """What no other capture of this boot has, and an adopted one keeps."""
        return self._library.object_id(self.map_fd("hot"))

    @property
    def is_asleep(self) -> bool:
        """Whether the programs gave up on a user space that was away too long."""
        raw = self._library.look_up(self.map_fd(".data.control"), _ZERO_KEY, CONTROL.itemsize)
        return bool(np.frombuffer(raw or bytes(CONTROL.itemsize), dtype=CONTROL)["asleep"][0])

    def stay_awake(self, now_ns: int) -> bool:
        """Tell the programs that somebody takes what they say; False when they sleep already."""
        if self.is_asleep:
            return False
        control = np.zeros(1, dtype=CONTROL)
        control["alive_ns"] = now_ns
        self._update(".data.control", _ZERO_KEY, control.tobytes())
        return True

    def keep(self) -> None:
        """Let the capture outlive this process from now on. Raises BpfError or OSError."""
        if self._pins is not None and self._folder is not None and not self.is_adopted:
            self._pins.prepare()
            self._objects.pin(self._folder)

    def end(self) -> None:
        """Let it end with this process after all."""
        if self._pins is not None:
            self._pins.remove()

    def map_fd(self, name: str) -> int:
        """Descriptor of a map."""
        return self._objects.map_fd(name)

    @property
    def probe_fd(self) -> int:
        """Descriptor of the inode probe, for BPF_PROG_TEST_RUN."""
        return self.program_fd("probe")

    def program_fd(self, name: str) -> int:
        """Descriptor of a program."""
        return self._objects.program_fd(name)

    def attach(self) -> None:
        """Attach every program of the plan; raises BpfError naming the first that fails."""
        for index, path in enumerate(self._plan.scope_cgroups):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._update("scope_cgroups", index.to_bytes(4, "little"), _four(fd))
            finally:
                os.close(fd)
        self._objects.attach(self._plan.attached)

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
        fd = self._library.iterate(self._objects.program_fd(name))
        try:
            pieces = []
            while piece := os.read(fd, _ITERATOR_READ_BYTES):
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            os.close(fd)

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

    @property
    def retired(self) -> int:
        """Number of the aggregate table that is not in use: 0 or 1."""
        return 1 - self._active

    def swap_uses(self, note: Callable[[Rows, Rows, int], None] | None = None) -> tuple[Rows, Rows]:
        """Retire the aggregate table and return it whole: (USE_KEY rows, USE rows).

        The update of a map of maps returns only after every program that could
        still see the old table has ended (kernel/bpf/syscall.c
        maybe_wait_bpf_programs), so nothing is added behind our back. ``note``
        is called with the rows and the number of the table before they are
        removed from it: so a death of this process in between loses nothing.
        """
        self._stored_at_swap = self.counts()["aggregate"][1]
        self._update("use_now", _ZERO_KEY, _four(self._tables[self.retired]))
        self._active = self.retired
        return self.take_retired(note)

    def take_retired(
        self, note: Callable[[Rows, Rows, int], None] | None = None
    ) -> tuple[Rows, Rows]:
        """Return what is in the table that is not in use, and empty it: see swap_uses()."""
        keys, uses = self._retired_uses()
        if note is not None:
            note(keys, uses, self.retired)
        self.empty_retired()
        return keys, uses

    def _retired_uses(self) -> tuple[Rows, Rows]:
        """Return what is in the table that is not in use."""
        fd = self._tables[self.retired]
        keys = np.empty(self.table_rows, dtype=USE_KEY)
        uses = np.empty(self.table_rows, dtype=USE)
        taken = self._library.read_batch(fd, keys.ctypes.data, uses.ctypes.data, self.table_rows)
        return keys[:taken].copy(), uses[:taken].copy()

    def empty_retired(self) -> None:
        """Remove what is in the table that is not in use."""
        while len(self._drain(self._tables[self.retired], USE_KEY, USE)[0]) == _DRAIN_ROWS:
            pass

    def _table_in_use(self) -> int:
        raw = self._library.look_up(self.map_fd("use_now"), _ZERO_KEY, 4)
        in_use = int.from_bytes(raw or b"", "little")
        return int(in_use != self._library.object_id(self._tables[0]))

    def take_losers(self) -> tuple[Rows, Rows]:
        """Take who lost records since the last call: (PROCESS rows, LOSER rows)."""
        return self._drain(self.map_fd("losers"), PROCESS, LOSER)

    def recursion_misses(self) -> dict[str, int]:
        """Return program -> times that the kernel skipped it since the load."""
        return {
            name: self._library.recursion_misses(self._objects.program_fd(name))
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
