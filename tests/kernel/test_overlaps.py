"""A read is seen as it ends: which ones may have begun within somebody else's write."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.kernel.seen import Run
from tests.kernel.witness import Witness

from whenced.record import Flag, Kind

pytestmark = pytest.mark.kernel

# A reader with a descriptor from before the write, one that opens the file since, the writer.
PROGRAM = """
import os
fd = os.open("data", os.O_RDONLY)
child = os.fork()
if not child:
    out = os.open("data", os.O_RDWR)
    os.pwrite(out, b"new", 0)
    os.pread(out, 10, 0)
    os._exit(0)
os.waitpid(child, 0)
os.pread(fd, 10, 0)
if not os.fork():
    os.pread(os.open("data", os.O_RDONLY), 10, 0)
    os._exit(0)
os.wait()
"""


def test_only_a_descriptor_from_before_the_write_may_have_been_overlapped(
    run: Run, witness: Witness, place: Path
) -> None:
    """The writer's own read cannot have been, nor that of who opened the file since."""
    (place / "data").write_bytes(b"old")
    (place / "program.py").write_text(PROGRAM)
    inode = (place / "data").stat().st_ino
    witness.run([sys.executable, "-S", "program.py"], place)
    rows = np.concatenate(witness.records)
    reads = rows[(rows["kind"] == Kind.READ) & (rows["file_inode"] == inode)]

    assert [bool(flags & Flag.OVERLAPPED) for flags in reads["flags"].tolist()] == [
        False,
        True,
        False,
    ]
