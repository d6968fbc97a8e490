"""The DuckDB file in use: one writer thread, cursors for readers. Knows no table.

With database.py, which opens the file, the only module that imports duckdb.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import duckdb  # noqa: TID251 -- one of the two modules that may
import pyarrow as pa

from whence_collector.arrow import DATABASE_TYPES, Columns, Inlet, arrow_table
from whence_collector.database import MIGRATIONS, connect, first_line, migrate
from whence_collector.errors import (
    CollectorError,
    DataDirectoryUnusable,
    QueryInvalid,
    QueryTooLong,
    StorageUnavailable,
)

Row = tuple[Any, ...]
# Our own statements by their text, ready to be planned: parsing is a third of a short one's time.
Parsed = dict[str, duckdb.Statement]
Result = TypeVar("Result")

SQL_CURSORS = 4
SQL_TIME_LIMIT_S = 30
CLOSE_WAIT_S = 10.0

SQL_CURSOR_SETTINGS = (
    f"SET max_execution_time = {SQL_TIME_LIMIT_S * 1000}",
    "SET operator_memory_limit = '1GiB'",
)

STORAGE_FAULTS = (
    duckdb.ConnectionException,  # the file was closed after a fault and not opened again yet
    duckdb.FatalException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,  # a commit that the disk refused
)


class Reader:
    """Read access to one consistent state of the database, for one thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, parsed: Parsed) -> None:
        self._connection = connection
        self._parsed = parsed

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """Run one statement and return all of its rows."""
        return self._run(sql, params).fetchall()

    def arrays(self, sql: str, params: Sequence[object] = ()) -> dict[str, Any]:
        """Run one statement and return its columns as numpy arrays, by name."""
        return dict(self._run(sql, params).fetchnumpy())

    def _run(self, sql: str, params: Sequence[object]) -> duckdb.DuckDBPyConnection:
        statement = self._parsed.get(sql)
        if statement is None:
            statement = self._parsed[sql] = self._connection.extract_statements(sql)[0]
        return self._connection.execute(statement, list(params))


class Writer(Reader):
    """Write access inside the one open transaction; only used on the writer thread."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, parsed: Parsed, inlets: dict[str, Inlet]
    ) -> None:
        super().__init__(connection, parsed)
        self._inlets = inlets  # of each table, prepared at its first append

    def execute(self, sql: str, params: Sequence[object] = ()) -> None:
        """Run one statement for its effect."""
        self._run(sql, params).fetchall()

    def append(self, table: str, columns: Columns) -> None:
        """Add rows to a table: column name -> list or numpy array, all of one length.

        Columns that are left out become NULL. An empty mapping or empty columns add nothing.
        """
        if not len(next(iter(columns.values()), ())):
            return
        inlet = self._inlets.get(table) or self._prepare(table)
        unknown = set(columns).difference(inlet.schema.names)
        assert not unknown, f"table {table} has no columns {unknown}"  # noqa: S101 -- our own names
        inlet.put(columns)
        self._connection.execute(f"EXECUTE add_to_{table}")

    def _prepare(self, table: str) -> Inlet:
        """Prepare the insert into a table: planning it anew would cost three times its work."""
        described = self.rows(f'DESCRIBE "{table}"')
        inlet = Inlet(pa.schema([(row[0], DATABASE_TYPES[row[1]]) for row in described]))
        self._connection.register(f"inlet_{table}", inlet)
        self._connection.execute(
            f'PREPARE add_to_{table} AS INSERT INTO "{table}" SELECT * FROM inlet_{table}'  # noqa: S608 -- our own names
        )
        self._inlets[table] = inlet
        return inlet

    def rows_with(self, wanted: Columns, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """Run one statement that may join the given columns as table ``wanted``."""
        self._connection.register("wanted", arrow_table(wanted))
        try:
            return self.rows(sql, params)
        finally:
            self._connection.unregister("wanted")


class SqlCursor:
    """A pooled cursor with a time limit of its own; knows parsing and running, not the rules."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def statements(self, query: str) -> list[tuple[str, str]]:
        """Return the type and the text of each statement.

        Raises QueryInvalid where the text does not parse (a type unknown to Python included).
        """
        try:
            found = self._connection.extract_statements(query)
            return [(each.type.name, each.query) for each in found]
        except (duckdb.Error, ValueError) as error:
            raise QueryInvalid(first_line(error)) from error

    def syntax_tree(self, query: str) -> str:
        """Return DuckDB's own JSON of the parsed text ({"error": true, …} where it cannot)."""
        return str(
            self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0]
        )

    def select(self, query: str) -> Iterator[Row]:
        """Yield rows while they are made; the transaction can only read and is undone after.

        Raises QueryInvalid where the database does not accept the query or a value in it, and
        QueryTooLong where the limit of time or memory struck.
        """
        watchdog = threading.Timer(SQL_TIME_LIMIT_S + 1, self._connection.interrupt)
        watchdog.start()
        try:
            self._connection.execute("BEGIN TRANSACTION READ ONLY")
            self._connection.execute(query)
            while page := self._connection.fetchmany(1000):
                yield from page
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            raise QueryTooLong(
                f"the query ran past {SQL_TIME_LIMIT_S} s or its memory; select less"
            ) from error
        except duckdb.Error as error:
            raise QueryInvalid(first_line(error)) from error
        finally:
            watchdog.cancel()
            self._connection.abort()
            with suppress(duckdb.TransactionException):
                self._connection.execute("ROLLBACK")


class Store:
    """The open database.

    Readers take ``cursor()`` on any thread; everything that writes goes through ``write()``,
    which queues it for the one writer thread.
    """

    def __init__(
        self,
        database: Path,
        migrations: Path = MIGRATIONS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.database = database
        self.schema_version = 0
        self.storage_error: str | None = None  # why commits fail now; kept by the ingest side
        self._migrations = migrations
        self._parsed: Parsed = {}
        self._inlets: dict[str, Inlet] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._readers: set[duckdb.DuckDBPyConnection] = set()
        self._sql_cursors: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="whence-writer")
        self._connection = self._open()

    def write(self, work: Callable[[Writer], Result]) -> Future[Result]:
        """Run work on the writer thread in one transaction; done means committed and fsynced.

        The future raises StorageUnavailable where the disk or the database refused; whatever
        else the work raises passes through. In both cases nothing of it is kept.
        """
        return self._thread.submit(self._transaction, work)

    def still(self, work: Callable[[Path], Result]) -> Future[Result]:
        """Run work on the writer thread while the file holds all that is committed and no write.

        The future raises StorageUnavailable, or what the work raises.
        """
        return self._thread.submit(self._standing_still, work)

    @contextmanager
    def cursor(self) -> Iterator[Reader]:
        """Give a reader over one consistent state, on the calling thread.

        Raises StorageUnavailable where the database cannot be read now.
        """
        connection = self._reading()
        try:
            connection.execute("BEGIN TRANSACTION READ ONLY")
            yield Reader(connection, self._parsed)
        except (*STORAGE_FAULTS, duckdb.InterruptException) as error:
            raise StorageUnavailable(f"the database cannot be read: {first_line(error)}") from error
        finally:
            with self._lock:
                self._readers.discard(connection)
            connection.close()

    def _reading(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            try:
                connection = self._connection.cursor()
            except duckdb.ConnectionException as error:
                raise StorageUnavailable("the database is closed; try again shortly") from error
            self._readers.add(connection)
        return connection

    @contextmanager
    def sql_cursor(self, wait_s: float = 5.0) -> Iterator[SqlCursor]:
        """Lend one of the pooled cursors for ad-hoc SQL.

        Raises QueryTooLong where all of them are busy for longer than wait_s.
        """
        pool = self._sql_cursors  # the one of now: the file may be opened anew meanwhile
        try:
            connection = pool.get(timeout=wait_s)
        except Empty:
            raise QueryTooLong(
                f"{SQL_CURSORS} queries are running already; try again when one has ended"
            ) from None
        try:
            yield SqlCursor(connection)
        finally:
            pool.put(connection)

    def close(self) -> None:
        """Stop the writer after its queue, interrupt readers, close the file."""
        self._thread.shutdown(wait=True)
        with self._lock:
            busy = list(self._readers)
        for reader in busy:
            reader.interrupt()
        # A thread inside DuckDB while the interpreter ends would abort the process.
        deadline = time.monotonic() + CLOSE_WAIT_S
        while self._readers and time.monotonic() < deadline:
            time.sleep(0.01)
        self._parsed.clear()
        self._inlets.clear()
        with suppress(duckdb.Error):  # a full disk: the WAL stays and is replayed at next start
            self._connection.close()

    def _standing_still(self, work: Callable[[Path], Result]) -> Result:
        try:
            self._connection.execute("CHECKPOINT").fetchall()
        except duckdb.Error as error:
            raise StorageUnavailable(_storage_sentence(self.database, error)) from error
        return work(self.database)

    def _transaction(self, work: Callable[[Writer], Result]) -> Result:
        committed = False
        try:
            self._connection.begin()
            result = work(Writer(self._connection, self._parsed, self._inlets))
            self._connection.commit()
            committed = True
        except STORAGE_FAULTS as error:
            raise StorageUnavailable(_storage_sentence(self.database, error)) from error
        finally:
            if not committed:
                self._recover()
        return result

    def _recover(self) -> None:
        """Undo the open transaction; open the file anew if DuckDB gave up on it."""
        self._inlets.clear()  # what was prepared in the transaction went with it
        with suppress(duckdb.Error):  # none is open after a commit that failed
            self._connection.rollback()
        try:
            self._connection.execute("SELECT 1").fetchall()
        except duckdb.Error:
            self._reopen()

    def _reopen(self) -> None:
        with self._lock, suppress(duckdb.Error):
            self._connection.close()
        while not self._sql_cursors.empty():
            self._sql_cursors.get().close()
        self._sql_cursors = SimpleQueue()
        # Where it cannot be opened now, the next transaction fails and tries again.
        with suppress(CollectorError):
            opened = self._open()
            with self._lock:
                self._connection = opened

    def _open(self) -> duckdb.DuckDBPyConnection:
        connection = connect(self.database)
        try:
            self.schema_version = migrate(connection, self._migrations, self._clock())
        except STORAGE_FAULTS as error:
            connection.close()
            raise DataDirectoryUnusable(
                f"{self.database} cannot be written ({first_line(error)}); "
                "free space there or choose another --data-dir"
            ) from error
        for _ in range(SQL_CURSORS):
            cursor = connection.cursor()
            for setting in SQL_CURSOR_SETTINGS:
                cursor.execute(setting)
            self._sql_cursors.put(cursor)
        connection.execute("SET lock_configuration = true")
        return connection


def _storage_sentence(database: Path, error: Exception) -> str:
    return (
        f"{database} cannot be written ({first_line(error)}); "
        "free space or repair the disk, daemons keep their batches meanwhile"
    )
