"""The kernel's inode probe, played by fstat, and the hasher's two steps in one call."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from whenced.hash_file import Reading, digest_file
from whenced.hash_messages import HashReply, HashRequest
from whenced.hash_open import OpenedFile, ProbeResult, open_requested

EXT4 = 0xEF53
VERSION = 7 << 32


@dataclass
class FakeProbe:
    """The kernel probe, played by fstat and by what the test says of versions and writers."""

    version: int = VERSION
    writers: int = 0
    magic: int = EXT4
    device: int = 0x800001
    generation: int = 99
    calls: int = 0
    on_call: dict[int, Callable[[], None]] = field(default_factory=dict)

    def __call__(self, fd: int) -> ProbeResult | None:
        """Answer as the kernel would, after what the test wants to happen at this call."""
        self.calls += 1
        self.on_call.get(self.calls, lambda: None)()
        st = os.fstat(fd)
        return ProbeResult(
            self.device,
            st.st_ino,
            self.generation,
            self.version,
            st.st_size,
            st.st_mtime_ns,
            st.st_ctime_ns,
            self.writers,
            st.st_mode,
            self.magic,
        )


def request_for(path: Path, **fields: object) -> HashRequest:
    """Return the request that a touch of `path` would lead to."""
    st = path.lstat()
    request = HashRequest(
        1,
        os.fsencode(path),
        device=0x800001,
        inode=st.st_ino,
        generation=99,
        version=VERSION,
        size_bytes=st.st_size,
        mtime_ns=st.st_mtime_ns,
        magic=EXT4,
    )
    return replace(request, **fields)  # type: ignore[arg-type] # fields named by the tests


def answer(request: HashRequest, probe: FakeProbe, reading: Reading | None = None) -> HashReply:
    """Open and read as the hasher does."""
    opened = open_requested(request, probe)
    if not isinstance(opened, OpenedFile):
        return opened
    probe.calls = 0
    try:
        return digest_file(opened.fd, request, reading or Reading(probe))
    finally:
        os.close(opened.fd)
