"""The same program, seen by `strace -f` and by whence: the edges are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import RAW, below, write_job
from tests.end_to_end.system_calls import TRACED, Edge, edges_of
from tests.scope import Scope

# Each call that moves bytes, once or more, over a dozen files, in a tree of processes.
WORKLOAD = """\
import os
import subprocess
import sys

raw = os.open("raw.csv", os.O_RDONLY)
size = os.fstat(raw).st_size
creating = os.O_RDWR | os.O_CREAT | os.O_TRUNC


def made(name):
    return os.open(name, creating, 0o644)


os.write(made("write.out"), os.read(raw, 50))
os.pwrite(made("pwrite.out"), os.pread(raw, 50, 3), 7)
buffers = [bytearray(10), bytearray(20)]
os.lseek(raw, 0, os.SEEK_SET)
os.readv(raw, buffers)
os.writev(made("writev.out"), buffers)
os.pwritev(made("pwritev.out"), [b"one", b"two"], 5)
os.preadv(raw, buffers, 4)
os.sendfile(made("sendfile.out"), raw, 0, size)
os.copy_file_range(raw, made("copied.out"), size, 0)
into, out_of = os.pipe()
os.splice(raw, out_of, 64, offset_src=0)
os.splice(into, made("spliced.out"), 64)
os.write(made("renamed.tmp"), b"moved")
os.rename("renamed.tmp", "renamed.out")
gone = made("gone.out")
os.write(gone, b"gone")
os.unlink("gone.out")
os.chdir("sub")
os.write(made("relative.out"), b"below")
here = os.open(".", os.O_RDONLY)
os.write(os.open("at.out", creating, 0o644, dir_fd=here), b"dir_fd")
os.chdir("..")
append = os.open("append.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
os.write(append, b"a")
subprocess.run(["cat", "raw.csv", "write.out"], stdout=made("cat.out"), check=True)
subprocess.run(["sh", "-c", "sort raw.csv | tail -n 3 > sorted.out; cp raw.csv cp.out"], check=True)
if os.fork() == 0:
    os.write(made("child.out"), os.pread(raw, 5, 0))
    os._exit(0)
os.wait()
"""

# strace and whence name a file by its path at the touch, which is the same for
# all of these; what programs load at their start is compared as well.
NOT_STRACE = "processes.exe NOT LIKE '%/strace'"


def edges_captured(whence: Whence, place: Path) -> set[Edge]:
    """Return the reads and writes of the processes that worked in the folder."""
    rows = whence.sql(
        "SELECT DISTINCT op, path FROM file_accesses JOIN processes USING (process_id)"  # noqa: S608 - ours
        " WHERE op IN ('read', 'write')"
        f" AND {NOT_STRACE} AND (processes.cwd = '{place}' OR {below(place, 'processes.cwd')})"
    )
    return {Edge(row["op"], row["path"]) for row in rows}


@pytest.mark.kernel
def test_edges_are_those_of_strace(scope: Scope, whence: Whence, place: Path) -> None:
    (place / "sub").mkdir()
    write_job(place, raw_csv=RAW, work_py=WORKLOAD)
    log = place.with_name(f"{place.name}.strace")
    trace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={','.join(TRACED)}", "-o", str(log)]

    scope.run([*trace, "python3", "work.py"], place)

    expected = edges_of(log.read_text().splitlines())
    log.unlink()
    captured = settled(lambda: edges_captured(whence, place), expected)
    assert sorted(expected - captured) == []
    assert sorted(captured - expected) == []


def test_lines_of_strace_become_edges() -> None:
    """Cut calls are joined; failed calls, ends of files, pipes and devices are no edges."""
    lines = [
        '7 read(3</data/a.csv>, ""..., 4096) = 12',
        '7 read(3</data/end.csv>, "", 4096) = 0',
        "7 read(3</data/bad.csv>, 0x1, 4096) = -1 EIO (Input/output error)",
        '8 write(1<pipe:[77]>, ""..., 3) = 3',
        '8 write(1</dev/null>, ""..., 3) = 3',
        "9 sendfile(5</data/to>, 4</data/from>, [0] => [9], 9) = 9",
        "9 copy_file_range(4</data/c from>, NULL, 5</data/c to>, NULL, 9, 0) = 9",
        "9 splice(4</data/s>, [0] => [4], 5<pipe:[77]>, NULL, 9, 0) = 4",
        "10 read(3</data/cut>,  <unfinished ...>",
        '7 pwrite64(4</data/p>, ""..., 3, 0) = 3',
        '10 <... read resumed>""..., 10) = 5',
        "10 +++ exited with 0 +++",
    ]

    assert edges_of(lines) == {
        Edge("read", "/data/a.csv"),
        Edge("read", "/data/from"),
        Edge("write", "/data/to"),
        Edge("read", "/data/c from"),
        Edge("write", "/data/c to"),
        Edge("read", "/data/s"),
        Edge("read", "/data/cut"),
        Edge("write", "/data/p"),
    }
