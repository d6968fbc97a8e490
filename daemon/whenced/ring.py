"""Rings of the kernel side: bytes out, in bulk. Knows no record's meaning.

The layout is that of kernel/bpf/ringbuf.c: one writable page with the
consumer's position, one read-only page with the producer's, then the data,
mapped twice in a row so that no record is ever split.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from whenced.record import RECORD, TEXT_HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whenced.record import Rows

_PAGE: Final = mmap.PAGESIZE
_HEADER_BYTES: Final = 8
_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_SLOT: Final = np.dtype([("length", "<u4"), ("page", "<u4"), ("record", RECORD)])
_TEXT: Final = struct.Struct("<II" + "QIIII")  # ring header, struct whence_text


class Ring:
    """A BPF ring buffer, mapped into this process."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self.fd = fd
        self.size_bytes = size_bytes
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED)
        self._pages = mmap.mmap(
            fd, _PAGE + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE
        )
        # On x86 these loads and stores are ordered as the kernel needs them. Elsewhere the
        # interpreter's own locking between two byte codes is the barrier.
        self._consumer = np.frombuffer(self._consumer_page, dtype="<u8", count=1)
        self._producer = np.frombuffer(self._pages, dtype="<u8", count=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap. Safe to call once; the ring itself belongs to the kernel."""
        del self._consumer, self._producer
        self._consumer_page.close()
        self._pages.close()

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait to be read."""
        return int(self._producer[0]) - int(self._consumer[0])

    def _data(self, offset: int) -> int:
        return _PAGE + offset % self.size_bytes

    def _consumed(self, position: int) -> None:
        self._consumer[0] = position


class HotRing(Ring):
    """Fixed-size records: drained as one array."""

    def drain(self) -> Rows:
        """Return every finished record as RECORD rows (copied), oldest first."""
        start = int(self._consumer[0])
        slots = (int(self._producer[0]) - start) // _SLOT.itemsize
        if not slots:
            return np.empty(0, dtype=RECORD)
        view = np.frombuffer(self._pages, dtype=_SLOT, count=slots, offset=self._data(start))
        busy = np.flatnonzero(view["length"] & _BUSY)
        finished = int(busy[0]) if busy.size else slots
        rows = view["record"][:finished].copy()
        self._consumed(start + finished * _SLOT.itemsize)
        return rows


class TextRing(Ring):
    """Texts of any length: drained one by one, which is why they are few."""

    def drain(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """Yield (id, part, flags, chunk, bytes) of every finished text, oldest first."""
        position = int(self._consumer[0])
        end = int(self._producer[0])
        while position < end:
            at = self._data(position)
            header, _, text_id, part, length, flags, chunk = _TEXT.unpack_from(self._pages, at)
            if header & _BUSY:
                break
            if not header & _DISCARDED:
                begin = at + _HEADER_BYTES + TEXT_HEAD.itemsize
                yield text_id, part, flags, chunk, self._pages[begin : begin + length]
            size = header & ~(_BUSY | _DISCARDED)
            position += (size + _HEADER_BYTES + 7) & ~7
        self._consumed(position)
