"""Where ad-hoc SQL is asked: keeps a copy of the database that is fresh, and workers that read it.

The collector itself never runs a stranger's statement: see sql_worker.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from whence_collector import errors
from whence_collector.database import SQL_TIME_LIMIT_S
from whence_collector.errors import QueryRefused, QueryTooLong, StorageUnavailable
from whence_collector.sql_worker import COLUMNS, END, ERROR, ROW

if TYPE_CHECKING:
    from whence_collector.store import Store

WORKERS = 4
WAIT_S = 5.0
# A copy serves for so many times as long as it took to make: a large file is not copied for each
# of many questions, and a small one always is.
AGE_PER_COST = 10.0
GRACE_S = 5.0  # of a worker beyond the limit of time of its queries
COPY_NAME = "sql-copy.duckdb"


class Worker:
    """One process that answers one question at a time; killed where it takes too long."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "whence_collector.sql_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, question: dict[str, object]) -> Iterator[str]:
        """Yield the lines of the answer up to its end. Raises QueryTooLong when it dies."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 -- both are pipes
        assert stdout is not None  # noqa: S101 -- the same
        watchdog = threading.Timer(SQL_TIME_LIMIT_S + GRACE_S, self._process.kill)
        watchdog.start()
        try:
            with suppress(BrokenPipeError):  # then it says nothing more either
                stdin.write(json.dumps(question) + "\n")
                stdin.flush()
            for line in stdout:
                if line[0] == END:
                    return
                yield line.rstrip("\n")
        finally:
            watchdog.cancel()
        raise QueryTooLong("the query ran past its memory or its time; select less")

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()


class SqlDesk:
    """Takes SELECTs; callable from any thread."""

    def __init__(self, store: Store, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock_s = store, clock_s
        self._copy = store.database.with_name(COPY_NAME)
        self._copying = threading.Lock()
        self._copied_commits = -1
        self._copied_s = self._cost_s = 0.0
        self._places = threading.BoundedSemaphore(WORKERS)
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    def select(self, query: str, max_rows: int) -> tuple[list[str], Iterator[str]]:
        """Run one SELECT; return its column names and an iterator of rows, each a JSON array.

        The iterator holds a worker until it is exhausted or closed. Raises QueryRefused,
        QueryInvalid, QueryTooLong, StorageUnavailable.
        """
        if not self._places.acquire(timeout=WAIT_S):
            raise QueryTooLong(
                f"{WORKERS} queries are running already; try again when one has ended"
            )
        answered = self._answer(query, max_rows)
        columns = json.loads(next(answered))
        return columns, answered

    def close(self) -> None:
        """End the workers and remove the copy."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()
        self._copied_commits = -1
        self._copy.unlink(missing_ok=True)

    def _answer(self, query: str, max_rows: int) -> Iterator[str]:
        """Yield the columns as JSON, then each row; give the worker back at the end."""
        worker: Worker | None = None
        failure: str | None = None
        is_whole = False
        try:
            self._refresh()
            worker = self._worker()
            question = {"database": str(self._copy), "query": query, "max_rows": max_rows}
            for line in worker.ask(question):
                if line[0] == ERROR:
                    # The rest of the answer is its end: read it, so that the worker can go on.
                    failure = line[1:]
                    continue
                assert line[0] in (COLUMNS, ROW)  # noqa: S101 -- what a worker says
                yield line[1:]
            is_whole = True
            _raise_if_failed(failure)
        finally:
            self._give_back(worker, is_whole=is_whole)

    def _worker(self) -> Worker:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                worker.close()
        return Worker()

    def _give_back(self, worker: Worker | None, *, is_whole: bool) -> None:
        self._places.release()
        if worker is None:
            return
        with self._lock:
            if is_whole and worker.is_alive and not self._closed:
                self._idle.append(worker)
                return
        worker.close()  # half an answer waits in its pipe, or it is dead

    def _refresh(self) -> None:
        """Copy the database where something was committed since, and the last copy is old enough.

        Raises StorageUnavailable where there is no room for a copy.
        """
        with self._copying:
            commits, now_s = self._store.commits, self._clock_s()
            is_young = now_s - self._copied_s < self._cost_s * AGE_PER_COST
            if self._copied_commits == commits or (is_young and self._copied_commits >= 0):
                return
            try:
                self._store.still(self._make_copy).result()
            except StorageUnavailable:
                if self._copied_commits < 0:
                    raise
                return  # an older copy answers, until there is room and rest for a new one
            self._copied_commits, self._copied_s = commits, self._clock_s()
            self._cost_s = self._copied_s - now_s

    def _make_copy(self, database: Path) -> None:
        """By another program: see backup.py for why the collector may not open its own file."""
        partial = self._copy.with_suffix(".partial")
        command = ["cp", "--reflink=auto", "--", str(database), str(partial)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise StorageUnavailable(
                f"there is no copy of the database to ask ({done.stderr.strip()}); free space"
            )
        partial.replace(self._copy)


def _raise_if_failed(failure: str | None) -> None:
    if failure is None:
        return
    name, sentence = json.loads(failure)
    kind = getattr(errors, name, QueryRefused)
    raise kind(sentence)
