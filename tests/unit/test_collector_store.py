"""The database file: migrations, transactions, readers beside the writer, bad disks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from whence_collector.database import MIGRATIONS
from whence_collector.errors import (
    DataDirectoryInUse,
    DataDirectoryUnusable,
    SchemaTooNew,
    StorageUnavailable,
)
from whence_collector.store import Store, Writer


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "collector" / "whence.duckdb"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    opened = Store(database)
    yield opened
    opened.close()


def count(store: Store, table: str = "path") -> int:
    with store.cursor() as reader:
        return int(reader.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 -- our own names


def add_paths(*path_ids: int) -> Callable[[Writer], None]:
    def work(writer: Writer) -> None:
        writer.append("path", {"path_id": list(path_ids), "path": [f"/{at}" for at in path_ids]})

    return work


def test_a_new_file_gets_every_migration_in_order(store: Store) -> None:
    newest = max(int(path.name[:4]) for path in MIGRATIONS.glob("*.sql"))

    with store.cursor() as reader:
        applied = reader.rows("SELECT version FROM schema_version ORDER BY version")

    assert applied == [(number,) for number in range(1, newest + 1)]
    assert store.schema_version == newest


def test_a_second_start_applies_nothing_and_keeps_the_rows(database: Path) -> None:
    first = Store(database)
    first.write(add_paths(1, 2)).result()
    first.close()

    second = Store(database)
    rows = count(second)
    migrations = count(second, "schema_version")
    second.close()

    assert (rows, migrations) == (2, second.schema_version)


def test_a_later_migration_is_applied_to_an_older_file(database: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "migrations"
    scripts.mkdir()
    (scripts / "0001_first.sql").write_text("CREATE TABLE one (n INTEGER);")
    Store(database, scripts).close()
    (scripts / "0002_second.sql").write_text("CREATE TABLE two AS SELECT 7 AS n; SELECT 1;")

    store = Store(database, scripts)
    with store.cursor() as reader:
        found = reader.rows("SELECT n FROM two")
    store.close()

    assert (found, store.schema_version) == ([(7,)], 2)


def test_a_newer_schema_is_refused_with_the_remedy(database: Path) -> None:
    store = Store(database)
    known = store.schema_version
    store.write(lambda writer: writer.execute("INSERT INTO schema_version VALUES (99, 0)")).result()
    store.close()

    with pytest.raises(SchemaTooNew) as caught:
        Store(database)

    assert str(caught.value) == (
        f"the data directory has schema 99 and this collector knows up to {known}; "
        "install a newer whence or choose another --data-dir"
    )


def test_a_file_that_is_no_database_is_refused(database: Path) -> None:
    database.parent.mkdir(parents=True)
    database.write_bytes(b"not a database at all" * 1000)

    with pytest.raises(DataDirectoryUnusable) as caught:
        Store(database)

    assert str(database) in str(caught.value)


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataDirectoryUnusable) as caught:
        Store(tmp_path / "file" / "whence.duckdb")

    assert "choose another with --data-dir" in str(caught.value)


def test_a_second_process_is_told_who_holds_the_file(store: Store) -> None:
    program = (
        "import sys; from pathlib import Path; from whence_collector import errors, store\n"
        "try: store.Store(Path(sys.argv[1]))\n"
        "except errors.DataDirectoryInUse as error: print(error)"
    )

    said = subprocess.run(
        [sys.executable, "-c", program, str(store.database)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.startswith(f"{store.database} is held by process ")
    assert said.stdout.endswith("stop that collector or choose another --data-dir\n")
    assert DataDirectoryInUse.__name__ not in said.stderr


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def work(writer: Writer) -> None:
        add_paths(1)(writer)
        raise KeyError("half way")

    with pytest.raises(KeyError):
        store.write(work).result()
    store.write(add_paths(2)).result()

    with store.cursor() as reader:
        assert reader.rows("SELECT path_id FROM path") == [(2,)]


def test_first_append_of_a_transaction_that_raises_does_not_hinder_the_next(store: Store) -> None:
    def work(writer: Writer) -> None:
        add_paths(1)(writer)
        raise KeyError("fault")

    with pytest.raises(KeyError):
        store.write(work).result()
    store.write(add_paths(2, 3)).result()
    store.write(add_paths(4)).result()

    with store.cursor() as reader:
        assert reader.rows("SELECT path_id FROM path ORDER BY path_id") == [(2,), (3,), (4,)]


def test_append_takes_lists_arrays_and_missing_columns(store: Store) -> None:
    def work(writer: Writer) -> None:
        writer.append(
            "code_state",
            {
                "modified": [("a", "b"), ()],
                "process_id": np.array([1, 2]),
                "repository": ["/r", "/s"],
                "dirty": [True, False],
                "at_unix_ns": [3, 4],
                "branch": [None, "main"],
            },
        )
        writer.append("stream_touch", {"process_id": []})

    store.write(work).result()

    with store.cursor() as reader:
        rows = reader.rows(
            'SELECT process_id, repository, "commit", branch, dirty, modified FROM code_state'
        )
    assert rows == [(1, "/r", None, None, True, ["a", "b"]), (2, "/s", None, "main", False, [])]


def test_rows_with_joins_what_it_is_given(store: Store) -> None:
    store.write(add_paths(1, 2, 3)).result()

    found = store.write(
        lambda writer: writer.rows_with(
            {"path_id": np.array([3, 1])},
            "SELECT path FROM path JOIN wanted USING (path_id) ORDER BY path",
        )
    ).result()

    assert found == [("/1",), ("/3",)]


def test_a_reader_sees_one_state_while_the_writer_goes_on(store: Store) -> None:
    store.write(add_paths(1)).result()
    with store.cursor() as reader:
        before = reader.rows("SELECT count(*) FROM path")
        store.write(add_paths(2)).result()
        during = reader.rows("SELECT count(*) FROM path")

    assert (before, during, count(store)) == ([(1,)], [(1,)], 2)


def test_a_reader_cannot_write(store: Store) -> None:
    with store.cursor() as reader, pytest.raises(Exception, match="read-only"):
        reader.rows("INSERT INTO path VALUES (1, '/x')")

    assert count(store) == 0


def test_a_database_that_gave_up_is_opened_again(store: Store) -> None:
    store.write(add_paths(1)).result()
    store._connection.close()  # as after a fault that DuckDB calls fatal

    with pytest.raises(StorageUnavailable):
        store.cursor().__enter__()
    with pytest.raises(StorageUnavailable):
        store.write(add_paths(2)).result()
    store.write(add_paths(3)).result()

    with store.cursor() as reader:
        assert reader.rows("SELECT path_id FROM path") == [(1,), (3,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB; needs root, as the daemon does."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mounted], check=True)
    yield mounted
    # Lazily: a test that failed leaves its database open.
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_disk_too_full_for_a_new_file_is_one_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64k", small_disk], check=True)

    with pytest.raises(DataDirectoryUnusable, match="free space there or choose another"):
        Store(small_disk / "collector" / "whence.duckdb")


def test_a_full_disk_keeps_what_is_committed_and_takes_more_when_there_is_room(
    small_disk: Path,
) -> None:
    store = Store(small_disk / "collector" / "whence.duckdb")
    random = np.random.default_rng(1)

    def work(writer: Writer) -> None:
        noise = random.integers(2**62, size=4000)
        writer.append("path", {"path_id": np.arange(4000), "path": [str(at) for at in noise]})

    committed = 0
    with pytest.raises(StorageUnavailable, match="free space or repair the disk"):
        while True:
            store.write(work).result()
            committed += 4000
    while_full = count(store)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    store.write(work).result()
    store.close()
    again = Store(store.database)
    after = count(again)
    again.close()

    assert (while_full, after) == (committed, committed + 4000)
