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
from typing import Any, TypeVar

import duckdb  # noqa: TID251 -- one of the two modules that may
import pyarrow as pa

from whence_collector.arrow import DATABASE_TYPES, Columns, Inlet, arrow_table
from whence_collector.database import (
    MIGRATIONS,
    connect,
    first_line,
    migrate,
)
from whence_collector.errors import (
    CollectorError,
    DataDirectoryUnusable,
    StorageUnavailable,
)

# Our own statements by their text, ready to be planned: parsing is a third of a short one's time.
Parsed = dict[str, duckdb.Statement]
Row = tuple[Any, ...]
Result = TypeVar("Result")

CLOSE_WAIT_S = 10.0
CHECKPOINT_TRIES, CHECKPOINT_WAIT_S = 40, 0.05

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
        self.commits = 0  # so far: grows with each transaction that changed something
        self.storage_error: str | None = None  # why commits fail now; kept by the ingest side
        self._migrations = migrations
        self._parsed: Parsed = {}
        self._inlets: dict[str, Inlet] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._readers: set[duckdb.DuckDBPyConnection] = set()
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
        self._checkpoint()
        return work(self.database)

    def _checkpoint(self) -> None:
        """Bring everything into the file; a transaction that is about to end is waited for."""
        for attempt in range(CHECKPOINT_TRIES):
            try:
                self._connection.execute("CHECKPOINT").fetchall()
            except duckdb.TransactionException as error:
                if attempt + 1 == CHECKPOINT_TRIES:
                    raise StorageUnavailable(
                        f"{self.database} is busy ({first_line(error)}); try again shortly"
                    ) from error
                time.sleep(CHECKPOINT_WAIT_S)
            except duckdb.Error as error:
                raise StorageUnavailable(_storage_sentence(self.database, error)) from error
            else:
                return

    def _transaction(self, work: Callable[[Writer], Result]) -> Result:
        committed = False
        try:
            self._connection.begin()
            result = work(Writer(self._connection, self._parsed, self._inlets))
            self._connection.commit()
            committed = True
            self.commits += 1
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
        connection.execute("SET lock_configuration = true")
        return connection


def _storage_sentence(database: Path, error: Exception) -> str:
    return (
        f"{database} cannot be written ({first_line(error)}); "
        "free space or repair the disk, daemons keep their batches meanwhile"
    )
