"""The DuckDB file: its settings, its lock, its migrations, and reading a copy of it back.

With store.py, which uses the file, the only module that imports duckdb; it knows no table but
schema_version.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb  # noqa: TID251 -- one of the two modules that may

from whence_collector.errors import (
    BackupUnusable,
    CollectorError,
    DataDirectoryInUse,
    DataDirectoryUnusable,
    QueryInvalid,
    QueryTooLong,
    SchemaTooNew,
)

MIGRATIONS = Path(__file__).parent / "migrations"

# Layer 1 of the gate before ad-hoc SQL, and a file that DuckDB 1.5 can open too.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.5.0",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "max_expression_depth": "250",
    "max_temp_directory_size": "16GiB",
    "memory_limit": "4GiB",
    "checkpoint_threshold": "1GB",
}
SQL_TIME_LIMIT_S = 30
SQL_CURSOR_SETTINGS = (
    f"SET max_execution_time = {SQL_TIME_LIMIT_S * 1000}",
    "SET operator_memory_limit = '1GiB'",
)


def first_line(error: Exception) -> str:
    """Return the first line of a DuckDB message without its class prefix."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    prefix, separator, rest = text.partition(" Error: ")
    return rest if separator and len(prefix) < 30 else text


def connect(database: Path) -> duckdb.DuckDBPyConnection:
    """Open or make the file and take its lock. Raises DataDirectory…, SchemaTooNew."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryUnusable(
            f"data directory {database.parent} cannot be made ({error.strerror}); "
            "choose another with --data-dir"
        ) from error
    settings = SETTINGS | {
        "temp_directory": str(database.parent / "temporary"),
        # Waking a second thread costs a small statement more than it gains (measured: 2.3 against
        # 1.2 ms an insert on two cores), so half of the cores stay with ingest and gRPC.
        "threads": max(1, (os.cpu_count() or 1) // 2),
    }
    try:
        return duckdb.connect(str(database), config=settings)
    except duckdb.Error as error:
        raise _opening_error(database, str(error)) from error


def open_copy(database: Path) -> SqlCursor:
    """Open a copy to be read by statements of strangers. Raises DataDirectoryUnusable."""
    settings = SETTINGS | {"memory_limit": "1GiB", "threads": 1, "temp_directory": ""}
    try:
        connection = duckdb.connect(str(database), read_only=True, config=settings)
        for setting in SQL_CURSOR_SETTINGS:
            connection.execute(setting)
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise _opening_error(database, str(error)) from error
    return SqlCursor(connection)


def _opening_error(database: Path, message: str) -> CollectorError:
    if "lock" in message:
        holder = message.partition("(PID ")[2].partition(")")[0]
        by = f" by process {holder}" if holder else ""
        return DataDirectoryInUse(
            f"{database} is held{by}; stop that collector or choose another --data-dir"
        )
    if "version number" in message:
        return SchemaTooNew(f"{database} was written by a newer DuckDB; install a newer whence")
    return DataDirectoryUnusable(
        f"{database} cannot be opened ({message.splitlines()[0]}); "
        "restore it from a backup or choose another --data-dir"
    )


def migrate(connection: duckdb.DuckDBPyConnection, migrations: Path, now_ns: int) -> int:
    """Apply what is missing, each file in a transaction; return the version that stands after."""
    scripts = {int(path.name[:4]): path for path in sorted(migrations.glob("[0-9]*.sql"))}
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version "
        "(version INTEGER NOT NULL, applied_ns BIGINT NOT NULL)"
    )
    found = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    version = int(found[0][0])
    newest = max(scripts, default=0)
    if version > newest:
        connection.close()
        raise SchemaTooNew(
            f"the data directory has schema {version} and this collector knows up to {newest}; "
            "install a newer whence or choose another --data-dir"
        )
    for number in range(version + 1, newest + 1):
        connection.begin()
        connection.execute(scripts[number].read_text())
        connection.execute("INSERT INTO schema_version VALUES (?, ?)", [number, now_ns])
        connection.commit()
    return newest


def rows_by_table(database: Path, migrations: Path = MIGRATIONS) -> dict[str, int]:
    """Read every column of every row of a file that nobody has open; return rows by table.

    Raises BackupUnusable where it is no database, is damaged, or is of a newer version.
    """
    try:
        connection = duckdb.connect(str(database), read_only=True)
    except duckdb.Error as error:
        raise BackupUnusable(f"{database} is no database ({first_line(error)})") from error
    with connection:
        try:
            names = [row[0] for row in connection.execute("SHOW TABLES").fetchall()]
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            asked = connection.execute("SELECT max(version) FROM schema_version").fetchall()
            version = asked[0][0]
            found = {name: _read_table(connection, name) for (name,) in tables if name in names}
        except duckdb.Error as error:
            said = first_line(error)
            raise BackupUnusable(f"{database} holds no whence, or is damaged ({said})") from error
    newest = max(int(path.name[:4]) for path in migrations.glob("[0-9]*.sql"))
    if version is None or version > newest:
        raise BackupUnusable(
            f"{database} has schema {version} and this collector knows up to {newest}; "
            "install a newer whence"
        )
    return found


def _read_table(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    """Return the rows of a table; hashing them makes DuckDB read each column of each."""
    sql = f'SELECT count(*), bit_xor(hash(each)) FROM "{name}" AS each'  # noqa: S608 -- its own
    count, _ = connection.execute(sql).fetchall()[0]
    return int(count)


class SqlCursor:
    """A connection to a copy, for ad-hoc SQL; knows parsing and running, not the rules."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Let go of the copy."""
        self._connection.close()

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

    def select(self, query: str) -> Iterator[tuple[Any, ...]]:
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
