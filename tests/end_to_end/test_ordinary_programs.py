"""Programs that know nothing of whence, seen by `strace -f` and by whence in one run: equal sets.

Each (process, kind, file) of one side is looked for on the other. What may differ is in DIFFER,
with the reason; nothing else may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import below
from tests.end_to_end.system_calls import LINE, TRACED, is_regular, touches, whole_lines
from tests.scope import Scope

pytestmark = pytest.mark.kernel

SOURCE = """\
#include <stdio.h>
int twice(int);
int main(void) { FILE *f = fopen("told", "w"); fprintf(f, "%d", twice(21)); return fclose(f); }
"""
MAKEFILE = """\
all: prog
%.o: %.c
\tgcc -c -o $@ $<
prog: main.o twice.o
\tgcc -o $@ $^
"""
SQL = (
    "import sqlite3; c = sqlite3.connect('base.db'); c.execute('CREATE TABLE t (a)');"
    " c.executemany('INSERT INTO t VALUES (?)', [(n,) for n in range(5000)]); c.commit();"
    " print(c.execute('SELECT sum(a) FROM t').fetchone(), file=open('sum', 'w'))"
)
ZIP = (
    "import shutil; shutil.make_archive('all', 'zip', 'tree');"
    " shutil.unpack_archive('all.zip', 'o')"
)
COMMIT = "git -c user.name=n -c user.email=e -c commit.gpgsign=false commit -q -m x"
# Everyday work, one line each.
PROGRAMS: Mapping[str, str] = {
    "tar": "tar -czf all.tgz tree && mkdir out && tar -xzf all.tgz -C out && rm -r tree",
    "git": f"cd tree && git init -q && git add . && {COMMIT} && git clone -q . ../copy",
    "gcc": "gcc -O1 -o prog main.c twice.c && ./prog",
    "make": "make -s && ./prog && touch main.c && make -s",
    "python": f'python3 -c "{ZIP}"',
    "sqlite3": f'python3 -c "{SQL}"',
    "rsync": "rsync -a tree/ one && echo more >> tree/a && rsync -a --delete tree/ one",
    "cp": "cp --reflink=auto -r tree one && mv one/a one/c && cat tree/a one/c > all",
    "sed, sort, split": "sort -r tree/a > s && sed -i s/1/2/ s && split -l 10 s part && gzip -k s",
}
MMAP = re.compile(r"PROT_(?P<protection>[A-Z_|]+), [^,]+, \d+<(?P<path>[^>]*)>")


@dataclass(frozen=True, slots=True, order=True)
class Touch:
    """One process's kind of touch on one path."""

    process: int
    operation: str
    path: str


def traced(lines: Iterable[str]) -> set[Touch]:
    """Return what strace saw: bytes moved, files mapped; threads count as their process."""
    leader: dict[int, int] = {}
    found: set[Touch] = set()
    for line in whole_lines(lines):
        call = LINE.match(line)
        if call is None:
            continue
        process, result = int(call["pid"]), int(call["result"])
        if call["call"].startswith("clone") and "CLONE_THREAD" in call["words"] and result > 0:
            leader[result] = leader.get(process, process)
        found |= set(touched(leader.get(process, process), call, result))
    return found


def touched(process: int, call: re.Match[str], result: int) -> Iterator[Touch]:
    """Yield the touches of one call that succeeded."""
    if call["call"] == "mmap":
        if (mapping := MMAP.search(call["words"])) and is_regular(mapping["path"]):
            kind = "execute" if "EXEC" in mapping["protection"] else "map"
            yield Touch(process, kind, mapping["path"])
    elif result > 0:
        paths = re.findall(r"(?:^|[ (,\[=])\d+<([^>]*)>", call["words"])
        for edge in touches(call["call"], paths):
            yield Touch(process, edge.operation, edge.path)


def captured(whence: Whence, place: Path) -> set[Touch]:
    """Return what whence saw of the processes that worked in the folder, but for strace itself."""
    rows = whence.sql(
        "SELECT DISTINCT processes.pid, op, path"  # noqa: S608 - ours
        " FROM file_accesses JOIN processes USING (process_id)"
        " WHERE op IN ('read', 'write', 'map', 'execute') AND processes.exe NOT LIKE '%/strace'"
        # read at its end, made and not written: no byte moved; a program that was executed
        " AND (bytes > 0 OR op IN ('map', 'execute')) AND NOT (op = 'execute' AND path = exe)"
        f" AND (processes.cwd = '{place}' OR {below(place, 'processes.cwd')})"
    )
    return {Touch(row["pid"], row["op"], row["path"]) for row in rows}


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_see_the_same(name: str, scope: Scope, whence: Whence, place: Path) -> None:
    (place / "tree" / "sub").mkdir(parents=True)
    (place / "tree" / "a").write_text("".join(f"{number}\n" for number in range(50)))
    (place / "tree" / "sub" / "b").write_bytes(bytes(100_000))
    (place / "main.c").write_text(SOURCE)
    (place / "twice.c").write_text("int twice(int n) { return 2 * n; }\n")
    (place / "Makefile").write_text(MAKEFILE)
    log = place.with_name(f"{place.name}.strace")
    calls = ",".join([*TRACED, "mmap", "clone", "clone3"])
    trace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={calls}", "-o", str(log)]
    try:
        scope.run([*trace, "sh", "-e", "-c", PROGRAMS[name]], place)
        expected = traced(log.read_text(errors="replace").splitlines())
    finally:
        log.unlink(missing_ok=True)

    assert len(expected) > 5
    seen = settled(partial(captured, whence, place), expected)
    assert sorted(expected - seen) == []
    assert sorted(seen - expected) == []
