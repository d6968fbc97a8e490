"""Many files at full speed: every edge arrives, and nothing is said to be lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import Rows, below, runs_writing, write_job
from tests.scope import Scope

pytestmark = pytest.mark.kernel

WRITERS = 4
FILES = 3000

# Keeps a list of its own: the oracle.
WRITER = f"""\
import sys

name = sys.argv[1]
with open(f"list{{name}}.txt", "w") as written:
    for number in range({FILES}):
        path = f"out/{{name}}/{{number:04d}}.txt"
        with open(path, "w") as out:
            out.write(f"{{name}} {{number}}\\n")
        print(path, file=written)
"""

READER = """\
import pathlib

for path in sorted(pathlib.Path("out").rglob("*.txt")):
    path.read_bytes()
pathlib.Path("total.txt").write_text("all of them\\n")
"""


def paths_touched(whence: Whence, place: Path, operation: str) -> set[str]:
    """Return every path below the folder's `out` that has the edge."""
    found: set[str] = set()
    for writer in range(WRITERS):
        rows = whence.sql(
            f"SELECT DISTINCT path FROM file_accesses WHERE op = '{operation}'"  # noqa: S608 - ours
            f" AND {below(place / 'out' / str(writer))}"
        )
        found |= {row["path"] for row in rows}
    return found


def test_four_writers_at_full_speed_lose_nothing(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, write_py=WRITER, read_py=READER)
    for writer in range(WRITERS):
        (place / "out" / str(writer)).mkdir(parents=True)

    started = [
        scope.start(["python3", "write.py", str(writer)], place) for writer in range(WRITERS)
    ]
    for process in started:
        with process:
            process.communicate()
    scope.run(["python3", "read.py"], place)

    lists = (place / f"list{writer}.txt" for writer in range(WRITERS))
    expected = {str(place / line) for one in lists for line in one.read_text().splitlines()}
    assert len(expected) == WRITERS * FILES
    for operation in ("write", "read"):
        touched = settled(partial(paths_touched, whence, place, operation), expected)

        assert (expected - touched, touched - expected) == (set(), set())


def test_runs_of_the_flood_are_complete(scope: Scope, whence: Whence, place: Path) -> None:
    """Created, read and deleted in one breath, as an unpacked archive is."""
    job = (
        "import os\n"
        "for number in range(2000):\n"
        "    with open(f'{number}.tmp', 'w') as out:\n"
        "        out.write('x' * 100)\n"
        "    open(f'{number}.tmp').read()\n"
        "    os.unlink(f'{number}.tmp')\n"
    )
    write_job(place, job_py=job)
    expected: Rows = {("python3 job.py", "succeeded", True)}

    scope.run(["python3", "job.py"], place)

    seen = settled(partial(runs_writing, whence, place, "command, status, complete"), expected)
    assert seen == expected
