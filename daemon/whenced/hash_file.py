"""Reading one file so that its digest is the digest of one version of it, or none at all.

Reads an open descriptor and keeps nothing: no queue, no descriptor, no cache of its own.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from blake3 import blake3

from whenced.hash_messages import ANY, HashReply, HashRequest
from whenced.hash_open import Probe, ProbeResult, agree, as_probed, fstat_probe, refused, same_file
from whenced.hub_names import sha256_of_blob
from whenced.share import nicest
from whenced.stat_cache import KnownDigest, StatCache, StatKey

CHUNK_BYTES: Final = 1 << 20
#: Up to here one read does, and changing priorities twice would cost more than it saves.
_SMALL_BYTES: Final = 1 << 18
#: Extents are only asked for where skipping holes pays: some file systems answer wrongly for
#: bytes that are not on disk yet.
_SPARSE_BYTES: Final = 1 << 30
_HUGE_BYTES: Final = 1 << 36
_HUGE_FILLED: Final = 0.01
_ATTEMPTS: Final = 2
#: Fields of ProbeResult, from the first, that a write changes.
_OF_CONTENT: Final = ProbeResult._fields.index("ctime_ns")
_ZEROS: Final = bytes(CHUNK_BYTES)

_ZFS: Final = 0x2FC12FC1
#: File systems that other hosts write to, unseen here: their stat data proves nothing later.
_NETWORK: Final = frozenset(
    (0x6969, 0xFF534D42, 0xFE534D42, 0x00C36400, 0x0BD00BD0, 0x01021997, 0x47504653)
)


class Observation(NamedTuple):
    """Probe and stat(2) of a descriptor at one moment."""

    probe: ProbeResult
    stat: os.stat_result

    def key(self) -> StatKey:
        """Return the stat cache's key of the content at this moment."""
        st = self.stat
        identity = (st.st_dev, st.st_ino, self.probe.generation)
        return StatKey(*identity, st.st_size, st.st_mtime_ns, st.st_ctime_ns)

    def same_content(self, later: Observation) -> bool:
        """Say whether nothing wrote between the two.

        A change of ctime alone is a rename or chmod as long as the kernel vouches for the
        version; where it cannot, ctime has to stand still too.
        """
        (seen, st), (seen_later, st_later) = self, later
        return (
            seen[:_OF_CONTENT] == seen_later[:_OF_CONTENT]
            and (st.st_size, st.st_mtime_ns) == (st_later.st_size, st_later.st_mtime_ns)
            and (seen.version != ANY or st.st_ctime_ns == st_later.st_ctime_ns)
        )


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A digest of a file that changed so lately that stat data do not vouch for it yet."""

    seen: Observation
    digest: KnownDigest


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading needs besides the file: the places it asks and the limits it keeps."""

    probe: Probe
    cache: StatCache | None = None
    pause: Callable[[], None] = lambda: None
    unsettled: Callable[[Unsettled], None] = lambda pending: None
    """Told of each digest that `settle` can save for the cache once RACY_NS have passed."""
    limit_bytes: int = 0
    """Largest file that is read; 0: no limit."""
    boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    unix_ns: Callable[[], int] = time.time_ns


def digest_file(fd: int, request: HashRequest, reading: Reading) -> HashReply:
    """Read `fd` from start to end; publish a digest only if one version was read throughout.

    Never raises for what the file does: I/O errors and refusals come back as a reply.
    """
    try:
        for _ in range(_ATTEMPTS):
            reply = _attempt(fd, request, reading)
            if reply is not None:
                return reply
            request = replace(request, mtime_ns=ANY)  # it moved while we looked on: a touch
    except OSError as error:
        return refused(request, f"cannot be read: {error.strerror}")
    return refused(request, "changed while it was being read", "torn")


def settle(fd: int, pending: Unsettled, reading: Reading) -> bool:
    """Cache the digest if the kernel vouches that nothing was written since; say whether.

    To be called more than RACY_NS after the reading: a write in the same tick as the last
    change leaves the stat data alone, but not the version.
    """
    try:
        now = observe(fd, reading.probe)
    except OSError:  # a stale handle of a network file system
        return False
    if now is None or reading.cache is None or now.probe.version == ANY or now.probe.writers > 0:
        return False
    if now.key() != pending.seen.key() or not pending.seen.same_content(now):
        return False
    return reading.cache.put(now.key(), pending.digest, reading.unix_ns())


def observe(fd: int, probe: Probe) -> Observation | None:
    """Return probe and stat of `fd`, None when the kernel does not know it."""
    if probe is fstat_probe:  # one call says both
        st = os.fstat(fd)
        return Observation(as_probed(st), st)
    seen = probe(fd)
    return None if seen is None else Observation(seen, os.fstat(fd))


def _attempt(fd: int, request: HashRequest, reading: Reading) -> HashReply | None:
    """Return None when the time stamps moved although the version did not (touch, cp -p)."""
    started_ns = reading.unix_ns()
    before = observe(fd, reading.probe)
    if before is None:
        return refused(request, "the kernel probe does not know the descriptor")
    if reply := _not_now(request, before, reading.limit_bytes) or _asserted(request, before):
        return reply
    network = before.probe.magic in _NETWORK
    cache = None if network else reading.cache
    known = _known(before.key(), request, cache)
    digest = known or _read(fd, before.stat, request, reading)
    at_ns = reading.boot_ns()
    after = observe(fd, reading.probe)
    if after is None or digest is None or after.probe.version != before.probe.version:
        return refused(request, "changed while it was being read", "torn")
    if after.probe.writers > 0:
        return refused(request, "a writer has the file open", "busy")
    if not before.same_content(after):
        return None
    if cache is not None and known is None and not cache.put(after.key(), digest, started_ns):
        reading.unsettled(Unsettled(after, digest))
    return _verified(request, digest, after, at_ns)


def _asserted(request: HashRequest, seen: Observation) -> HashReply | None:
    """Take a publisher's word for what its cache holds, if nobody was seen to write it."""
    sha256 = sha256_of_blob(request.path) if request.version == 0 else None
    if sha256 is None or not seen.stat.st_size:
        return None
    at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    reason = "the digest is the name that its publisher gave it; its bytes were not read"
    size_bytes, version = seen.stat.st_size, seen.probe.version
    return HashReply(request.ticket, "asserted", b"", sha256, size_bytes, version, at_ns, reason)


def _verified(
    request: HashRequest, digest: KnownDigest, seen: Observation, at_ns: int
) -> HashReply:
    sha256 = digest.sha256 if request.written else b""
    size_bytes, version = seen.stat.st_size, seen.probe.version
    return HashReply(request.ticket, "verified", digest.blake3, sha256, size_bytes, version, at_ns)


def _not_now(request: HashRequest, seen: Observation, limit_bytes: int) -> HashReply | None:
    """Return the reply of a file that must not be read, or not in this state."""
    probe = seen.probe
    if not same_file(request, probe):
        return refused(request, "replaced before it could be read")
    if not agree(request.version, probe.version):
        versions = f"version {request.version} seen, {probe.version} found"
        return refused(request, f"overwritten before it could be read ({versions})", "torn")
    if _moved_unseen(request, seen):
        reason = "overwritten before it could be read (size or time stamp differ)"
        return refused(request, reason, "torn")
    if probe.writers > 0:
        return refused(request, "a writer has the file open", "busy")
    reason = _too_large(seen.stat, limit_bytes)
    return refused(request, reason) if reason else None


def _too_large(st: os.stat_result, limit_bytes: int) -> str:
    if limit_bytes and st.st_size > limit_bytes:
        return f"larger than the limit of {limit_bytes} bytes"
    if st.st_size > _HUGE_BYTES and st.st_blocks * 512 < _HUGE_FILLED * st.st_size:
        return f"sparse: only {st.st_blocks * 512} of {st.st_size} bytes exist"
    return ""


def _moved_unseen(request: HashRequest, seen: Observation) -> bool:
    """A change that no hook saw (another host, a capture that left it out) moves size or mtime."""
    if request.version == ANY:
        return False
    sizeagrees = agree(request.size_bytes, seen.stat.st_size)
    return not (sizeagrees and agree(request.mtime_ns, seen.stat.st_mtime_ns))


def _known(key: StatKey, request: HashRequest, cache: StatCache | None) -> KnownDigest | None:
    known = None if cache is None else cache.get(key)
    return None if known and request.written and not known.sha256 else known


class _Digest:
    """Both digests, fed at once."""

    def __init__(self, with_sha256: bool) -> None:
        self._blake3 = blake3(max_threads=1)
        self._sha256 = hashlib.sha256(usedforsecurity=False) if with_sha256 else None

    def feed(self, data: memoryview | bytes) -> None:
        self._blake3.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    def result(self) -> KnownDigest:
        sha256 = b"" if self._sha256 is None else self._sha256.digest()
        return KnownDigest(self._blake3.digest(), sha256)


def _digest_of(data: bytes, *, with_sha256: bool) -> KnownDigest:
    sha256 = hashlib.sha256(data, usedforsecurity=False).digest() if with_sha256 else b""
    return KnownDigest(blake3(data, max_threads=1).digest(), sha256)


@dataclass(frozen=True, slots=True)
class _Extent:
    start: int
    end: int
    hole: bool


def _read(
    fd: int, st: os.stat_result, request: HashRequest, reading: Reading
) -> KnownDigest | None:
    """Return the digests of exactly `st.st_size` bytes, None when there were fewer."""
    if st.st_size <= _SMALL_BYTES:
        data = os.pread(fd, st.st_size, 0)
        known = _digest_of(data, with_sha256=request.written)
        reading.pause()
        return known if len(data) == st.st_size else None
    digest = _Digest(request.written)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    for extent in _extents(fd, st, request.magic):
        for offset in range(extent.start, extent.end, CHUNK_BYTES):
            part = buffer[: extent.end - offset]
            if not _feed(fd, offset, part, digest, hole=extent.hole):
                return None
            reading.pause()
    return digest.result()


def _feed(fd: int, offset: int, buffer: memoryview, digest: _Digest, *, hole: bool) -> bool:
    """Digest the next len(buffer) bytes; return False when the file is shorter."""
    with nicest():
        if hole:
            digest.feed(_ZEROS[: len(buffer)])
            return True
        filled = 0
        while filled < len(buffer):
            count = os.preadv(fd, [buffer[filled:]], offset + filled)
            if count == 0:
                return False
            filled += count
        digest.feed(buffer)
    return True


def _extents(fd: int, st: os.stat_result, magic: int) -> Iterator[_Extent]:
    """Cut the file into data and holes; one extent where asking for holes does not pay."""
    size_bytes = st.st_size
    if magic == _ZFS or size_bytes < _SPARSE_BYTES or st.st_blocks * 512 >= size_bytes:
        yield _Extent(0, size_bytes, hole=False)
        return
    offset = 0
    while offset < size_bytes:
        data_at = _next_data(fd, offset, size_bytes)
        if data_at > offset:
            yield _Extent(offset, data_at, hole=True)
        if data_at < size_bytes:
            data_end = min(os.lseek(fd, data_at, os.SEEK_HOLE), size_bytes)
            yield _Extent(data_at, data_end, hole=False)
            data_at = data_end
        offset = data_at


def _next_data(fd: int, offset: int, size_bytes: int) -> int:
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), size_bytes)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size_bytes  # nothing but a hole up to the end
