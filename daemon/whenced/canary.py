"""Proof of life: a known sequence of file operations, and what of it was seen.

`run` starts the sequence as an observed process; a tap on the capture loop
compares. Executed as a program (`python canary.py DIRECTORY TOKEN`) this file
is the sequence itself, so it may import nothing of ours.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

MARK = "whence-canary:"


def sequence(directory: Path) -> None:
    """Do each thing once that must be seen; expected() says the same as edges."""
    first, second, third = (directory / name for name in ("first", "second", "third"))
    first.write_bytes(b"canary" * 1000)
    with first.open("rb") as file:
        file.read()
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
    first.rename(second)
    source, target = os.open(second, os.O_RDONLY), os.open(third, os.O_WRONLY | os.O_CREAT, 0o600)
    os.sendfile(target, source, 0, 600)
    os.ftruncate(target, 100)
    os.close(source)
    os.close(target)
    os.link(third, directory / "fourth")
    second.unlink()


def expected(directory: Path) -> list[dict[str, str]]:
    """Edges of sequence(), as {"op", "path"}."""
    edges = (
        ("write", "first"),
        ("read", "first"),
        ("map", "first"),
        ("rename", "first"),
        ("write", "third"),
        ("truncate", "third"),
        ("link", "third"),
        ("delete", "second"),
    )
    return [{"op": op, "path": str(directory / name)} for op, name in edges]


if __name__ == "__main__":
    sequence(Path(sys.argv[1]))
