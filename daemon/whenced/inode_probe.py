"""Ask the kernel side about one descriptor of this process: identity, version, writers.

Runs the BPF program `probe` (bpf/probe.bpf.c) by BPF_PROG_TEST_RUN: no I/O, no
file system is asked, microseconds. Works in any process that inherited the
program's and the map's descriptors.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
import threading
from typing import Final

from whenced.hash_open import ProbeResult
from whenced.record import PROBE

# include/uapi/linux/bpf.h
_BPF_MAP_LOOKUP_ELEM: Final = 1
_BPF_PROG_TEST_RUN: Final = 10
_SYS_BPF: Final = {"x86_64": 321}["x86_64"]
_RUN: Final = struct.Struct("=IIIIQQIIIIQQIII4x")  # union bpf_attr, member "test"
_LOOK_UP: Final = struct.Struct("=I4xQQQ")  # union bpf_attr, map element commands
_CONTEXT_WORDS: Final = 12  # struct bpf_raw_tracepoint_args: at most 12 arguments
_ANSWER: Final = struct.Struct("=QII4QiIII")  # struct whence_probe
_SLOTS: Final = 16  # PROBE_SLOTS of probe.bpf.c

assert _ANSWER.size == PROBE.itemsize  # noqa: S101 (two spellings of one C struct, at import)


class _Call:
    """Buffers of one thread for the two system calls of a probe: filled once, used again."""

    def __init__(self, program_fd: int, map_fd: int, slot: int) -> None:
        self.context = (ctypes.c_uint64 * _CONTEXT_WORDS)(0, slot)
        self.answer = ctypes.create_string_buffer(_ANSWER.size)
        self._key = ctypes.c_uint32(slot)
        self.run = ctypes.create_string_buffer(
            _RUN.pack(
                program_fd, 0, 0, 0, 0, 0, 0, 0,
                _CONTEXT_WORDS * 8, 0, ctypes.addressof(self.context), 0, 0, 0, 0,
            ),
            _RUN.size,
        )  # fmt: skip
        self.look_up = ctypes.create_string_buffer(
            _LOOK_UP.pack(map_fd, ctypes.addressof(self._key), ctypes.addressof(self.answer), 0),
            _LOOK_UP.size,
        )


class InodeProbe:
    """The probe, callable from up to 16 threads at once (each has a slot of its own)."""

    def __init__(self, program_fd: int, map_fd: int) -> None:
        self._program_fd = program_fd
        self._map_fd = map_fd
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._slots = itertools.count()
        self._thread = threading.local()

    def __call__(self, fd: int) -> ProbeResult | None:
        """Return what ``fd`` stands for, None when there is no such descriptor.

        Raises OSError when the kernel refuses to run the program.
        """
        call = self._call()
        call.context[0] = fd
        self._bpf(_BPF_PROG_TEST_RUN, call.run)
        self._bpf(_BPF_MAP_LOOKUP_ELEM, call.look_up)
        return _result(call.answer.raw)

    def _call(self) -> _Call:
        call: _Call | None = getattr(self._thread, "call", None)
        if call is None:
            slot = next(self._slots) % _SLOTS
            call = self._thread.call = _Call(self._program_fd, self._map_fd, slot)
        return call

    def _bpf(self, command: int, attribute: ctypes.Array[ctypes.c_char]) -> None:
        if self._syscall(_SYS_BPF, command, attribute, len(attribute)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"the inode probe cannot run (bpf command {command})")


def _result(raw: bytes) -> ProbeResult | None:
    """Decode struct whence_probe."""
    (
        inode, device, generation, version, size_bytes, mtime_ns, ctime_ns,
        writers, found, mode, magic,
    ) = _ANSWER.unpack(raw)  # fmt: skip
    if not found:
        return None
    return ProbeResult(
        device, inode, generation, version, size_bytes, mtime_ns, ctime_ns, writers, mode, magic
    )
