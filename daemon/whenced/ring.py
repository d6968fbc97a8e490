"""Rings of the kernel side: bytes out, in bulk. Knows no record's meaning.

The layout is that of kernel/bpf/ringbuf.c: one writable page with the
consumer's position, one read-only page with the producer's, then the data.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from whenced.record import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whenced.record import Rows

_PAGE: Final = mmap.PAGESIZE
_HEADER_BYTES: Final = 8
_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER: Final = struct.Struct("<I")
_TEXT: Final = struct.Struct("<II" + "QIIII")  # ring header, struct whence_text


class Ring:
    """A BPF ring buffer: its positions are mapped, of its data only what is being copied.

    What is read keeps its room until release(): a death of this process in between loses nothing.
    A mapping counts in full as resident memory, and the rings are large so that they bridge
    seconds. The kernel offers the data twice in a row, so that no piece is broken at the end.
    """

    def __init__(self, fd: int, size_bytes: int) -> None:
        self.fd = fd
        self.size_bytes = size_bytes
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED)
        self._producer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        # On x86 these loads and stores are ordered as the kernel needs them. Elsewhere the
        # interpreter's own locking between two byte codes is the barrier.
        self._consumer = np.frombuffer(self._consumer_page, dtype="<u8", count=1)
        self._producer = np.frombuffer(self._producer_page, dtype="<u8", count=1)
        self._read = int(self._consumer[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap. Safe to call once; the ring itself belongs to the kernel."""
        del self._consumer, self._producer
        self._consumer_page.close()
        self._producer_page.close()

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait to be read."""
        return self.produced - self.consumed

    @property
    def produced(self) -> int:
        """Position of the end; never goes back."""
        return int(self._producer[0])

    @property
    def consumed(self) -> int:
        """Position up to which the ring was read."""
        return self._read

    def release(self) -> None:
        """Give back the room of what was read: it is written down elsewhere by now."""
        self._consumer[0] = np.uint64(self._read)

    def go_to(self, position: int) -> None:
        """Read on from a position: what lies before it was read by a process that is gone."""
        self._read = position
        self.release()

    def _backlog(self) -> bytes:
        """Copy what waits, at most a quarter of the ring, so that room is made early."""
        length = min(self.backlog_bytes, self.size_bytes // 4)
        if not length:
            return b""
        place = self.consumed % self.size_bytes
        within = place % _PAGE
        with mmap.mmap(
            self.fd, within + length, mmap.MAP_SHARED, mmap.PROT_READ,
            offset=2 * _PAGE + place - within,
        ) as window:  # fmt: skip
            return window[within:]

    def _consumed(self, length: int) -> None:
        self._read += length


class HotRing(Ring):
    """Fixed-size records: drained as one array."""

    def __init__(self, fd: int, size_bytes: int, layout: np.dtype[np.void] = RECORD) -> None:
        super().__init__(fd, size_bytes)
        self._slot = np.dtype([("length", "<u4"), ("page", "<u4"), ("record", layout)])

    def drain(self) -> Rows:
        """Return finished records as rows of the layout, oldest first; empty when there are none.

        A record's size must be a multiple of 8: the kernel rounds each slot up to that.
        """
        data = self._backlog()
        slots = np.frombuffer(data, dtype=self._slot, count=len(data) // self._slot.itemsize)
        busy = np.flatnonzero(slots["length"] & _BUSY)
        finished = int(busy[0]) if busy.size else len(slots)
        self._consumed(finished * self._slot.itemsize)
        return slots["record"][:finished]


class TextRing(Ring):
    """Texts of any length: copied at once, decoded one by one by whoever uses them."""

    def drain(self) -> RawTexts:
        """Take every finished text now, oldest first."""
        blocks = []
        while block := self._take():
            blocks.append(block)
        return RawTexts(tuple(blocks))

    def _take(self) -> bytes:
        data = self._backlog()
        position = 0
        while position + _TEXT.size <= len(data):
            (header,) = _HEADER.unpack_from(data, position)
            size = _slot_bytes(header)
            if header & _BUSY or position + size > len(data):
                break
            position += size
        self._consumed(position)
        return data[:position]


@dataclass(frozen=True, slots=True)
class RawTexts:
    """Texts as they stood in a ring: (id, part, flags, chunk, bytes) when they are gone through."""

    blocks: tuple[bytes, ...] = ()

    def __iter__(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        return chain.from_iterable(map(texts_in, self.blocks))

    def __add__(self, more: RawTexts) -> RawTexts:
        return RawTexts(self.blocks + more.blocks)


def texts_in(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield the texts of whole slots: (id, part, flags, chunk, bytes)."""
    position = 0
    while position < len(data):
        header, _, text_id, part, length, flags, chunk = _TEXT.unpack_from(data, position)
        if not header & _DISCARDED:
            begin = position + _TEXT.size
            yield text_id, part, flags, chunk, data[begin : begin + length]
        position += _slot_bytes(header)


def _slot_bytes(header: int) -> int:
    return (header & ~(_BUSY | _DISCARDED)) + _HEADER_BYTES + 7 & ~7
