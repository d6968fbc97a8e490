"""Ways to bytes that capture cannot follow, in words: what a run that took one is told to lack."""

from __future__ import annotations

from typing import Final

from whenced.record import Unseen

_SENTENCES: Final = {
    Unseen.URING: "io_uring requests moved bytes or names in a way that capture cannot follow",
    Unseen.URING_COMMAND: "an io_uring command went to the driver of a file or device",
    Unseen.URING_NAME: "names changed through io_uring, and nothing says which",
    Unseen.AIO: "libaio control blocks could not be read: some of its files are not known",
    Unseen.GPUDIRECT: (
        "GPUDirect Storage was used: reads are inferred from opens, writes are not seen"
    ),
    Unseen.BLOCK_DEVICE: "a block device was used below its file system",
    Unseen.MAPPING: "mappings were made writable, and not all of their files are known",
}


def sentence_of(number: int) -> str:
    """What enum whence_unseen means for the run; a number of a newer kernel side is told as such.

    >>> sentence_of(Unseen.BLOCK_DEVICE)
    'a block device was used below its file system'
    """
    try:
        return _SENTENCES[Unseen(number)]
    except ValueError:
        return f"a way round capture was taken (number {number})"
