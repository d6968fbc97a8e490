"""The program that runs a stranger's SQL: on a copy of the database, under a hard limit of memory.

One value of a query may ask for any amount of memory, and no setting of DuckDB bounds it; so what
runs it may die without harm. Reads questions as lines of JSON on standard input; writes answers on
standard output, each line with a letter first: c columns, r a row, e an error, z the end.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from whence_collector.database import SqlCursor, open_copy
from whence_collector.errors import CollectorError, QueryTooLong
from whence_collector.sql_gate import run_select

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS, ROW, ERROR, END = "c", "r", "e", "z"
# Of address space: the interpreter and DuckDB map less than 1 GiB before the first query.
MEMORY_BYTES = 3 << 30
# Where the host itself runs out of memory, this is what may go first (proc(5)).
OOM_SCORE = "900"


class Copy:
    """A read-only copy of the database, opened anew when another one stands in its place."""

    def __init__(self) -> None:
        self._stamp: tuple[int, int] | None = None
        self._connection: SqlCursor | None = None

    def open(self, database: Path) -> None:
        """Open the copy that stands at a path now. Raises CollectorError."""
        stat = database.stat()
        stamp = stat.st_ino, stat.st_mtime_ns
        if stamp == self._stamp:
            return
        if self._connection is not None:
            self._connection.close()  # DuckDB opens no path twice in one process
        self._connection, self._stamp = open_copy(database), stamp

    @contextmanager
    def sql_cursor(self) -> Iterator[SqlCursor]:
        """Lend the connection, as Store does."""
        assert self._connection is not None  # noqa: S101 -- opened before it is asked
        yield self._connection


def answer(copy: Copy, question: dict[str, object]) -> Iterator[str]:
    """Yield the lines of one answer."""
    try:
        copy.open(Path(str(question["database"])))
        columns, rows = run_select(copy, str(question["query"]), int(str(question["max_rows"])))
        yield COLUMNS + json.dumps(columns)
        for row in rows:
            yield ROW + row
    except CollectorError as error:
        yield ERROR + json.dumps([type(error).__name__, str(error)])
    except MemoryError:
        yield ERROR + json.dumps([QueryTooLong.__name__, "the query ran past its memory"])
    yield END


def main() -> int:
    """Answer until standard input ends; return the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the collector's to handle
    copy = Copy()
    for line in sys.stdin:
        for said in answer(copy, json.loads(line)):
            # Rows are JSON without line breaks: one line is one row.
            sys.stdout.write(said + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
