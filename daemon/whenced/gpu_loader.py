"""Load the GPU programs beside the capture programs, and read what they saw.

An object of its own, loaded only where there is a GPU. It shares the scope and the exclusions of
the capture object: the same maps stand behind both.
"""

from __future__ import annotations

import ctypes
import os
from importlib import resources
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from whenced.gpu_record import GPU_CONFIG, GPU_COUNT, GPU_RECORD, NODES, gpu_events
from whenced.libbpf import BpfError, Libbpf
from whenced.ring import HotRing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whenced.gpu_devices import Node
    from whenced.gpu_record import GpuEvent
    from whenced.loader import Capture

ATTACHED: Final = ("on_gpu_call", "on_gpu_fork", "on_gpu_exit", "on_gpu_switch")
_RING_BYTES: Final = 1 << 19
_SHARED: Final = ("excluded", "scope_cgroups", ".data.control")
_OWN: Final = ("gpu_files", "gpu_fds", "gpu_holders", "gpu_events", "gpu_counts", "gpu_ticker")
_SECTIONS: Final = (".rodata.config", ".rodata.gpu")
_ITERATOR_READ_BYTES: Final = 1 << 16


class GpuProbe:
    """The loaded and attached GPU programs. A context manager: leaving it detaches them."""

    def __init__(
        self, library: Libbpf, capture: Capture, nodes: Sequence[Node], *, count_failed: bool
    ) -> None:
        self._library = library
        self._links: list[int] = []
        with resources.as_file(resources.files("whenced._bpf") / "gpu.bpf.o") as path:
            if not path.is_file():
                raise BpfError("the GPU programs are not built: run `make -C bpf`")
            what = "cannot open the GPU programs"
            self._object = library.pointer(what, "bpf_object__open_file", os.fsencode(path), None)
        try:
            self._choose_maps(capture)
            self._fill(".rodata.config", capture.configuration)
            self._fill(".rodata.gpu", _configuration(nodes, count_failed=count_failed))
            library.call("bpf_object__load", self._object)
            for name in ATTACHED:
                link = library.pointer(
                    f"cannot attach {name}", "bpf_program__attach", self._program(name)
                )
                self._links.append(link)
            self._ring = HotRing(self._map_fd("gpu_events"), _RING_BYTES, GPU_RECORD)
        except BpfError:
            self._detach()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        self._detach()

    def _detach(self) -> None:
        for link in self._links:
            self._library.destroy_link(link)
        self._library.close_object(self._object)

    def fileno(self) -> int:
        """Descriptor that is readable when events wait."""
        return self._ring.fd

    def drain(self) -> list[GpuEvent]:
        """Take what was seen, oldest first."""
        found: list[GpuEvent] = []
        while (rows := self._ring.drain()).size:
            found += gpu_events(rows)
            self._ring.release()
        return found

    def walk(self) -> list[GpuEvent]:
        """Ask which processes have GPU files open now; gives what waited and what was found."""
        link = self._library.pointer(
            "cannot attach seen_gpu_file", "bpf_program__attach", self._program("seen_gpu_file")
        )
        fd = self._library.call("bpf_iter_create", self._library.call("bpf_link__fd", link))
        try:
            while os.read(fd, _ITERATOR_READ_BYTES):
                pass
        finally:
            os.close(fd)
            self._library.destroy_link(link)
        return self.drain()

    def counts(self) -> tuple[int, int]:
        """Return (attempted, lost) records since the load, over all CPUs."""
        raw = self._library.look_up(
            self._map_fd("gpu_counts"), bytes(4), GPU_COUNT.itemsize * self._library.cpu_count
        )
        rows = np.frombuffer(raw or b"", dtype=GPU_COUNT)
        return int(rows["attempted"].sum()), int(rows["lost"].sum())

    def _choose_maps(self, capture: Capture) -> None:
        """Create our own, share three, and leave the other maps of the common headers out."""
        for address, name in self._library.maps(self._object):
            if name in _SHARED:
                self._library.call("bpf_map__reuse_fd", address, capture.map_fd(name))
            elif name not in _OWN and not name.endswith(_SECTIONS):
                self._library.call("bpf_map__set_autocreate", address, False)

    def _fill(self, section: str, configuration: bytes) -> None:
        size = ctypes.c_size_t()
        address = self._library.pointer(
            "no settings section",
            "bpf_map__initial_value",
            self._map(section),
            ctypes.byref(size),
        )
        ctypes.memmove(address, configuration, size.value)

    def _map(self, name: str) -> int:
        what = f"no BPF map {name}"
        return self._library.pointer(
            what, "bpf_object__find_map_by_name", self._object, name.encode()
        )

    def _map_fd(self, name: str) -> int:
        return self._library.call("bpf_map__fd", self._map(name))

    def _program(self, name: str) -> int:
        what = f"no BPF program {name}"
        return self._library.pointer(
            what, "bpf_object__find_program_by_name", self._object, name.encode()
        )


def _configuration(nodes: Sequence[Node], *, count_failed: bool) -> bytes:
    config = np.zeros(1, dtype=GPU_CONFIG)
    used = list(nodes)[:NODES]
    config["node_count"], config["count_failed"] = len(used), count_failed
    for at, node in enumerate(used):
        config["nodes"][0, at] = (node.major, node.first_minor, node.last_minor, node.role)
    return config.tobytes()
