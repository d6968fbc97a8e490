"""The gate before ad-hoc SQL: what may pass, and every attack that was tried against it."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.unit.collector_batches import one_of_each

from whence_collector.check import check
from whence_collector.errors import QueryInvalid, QueryRefused, QueryTooLong
from whence_collector.recorder import Recorder, Submission
from whence_collector.resolved import ResolvedBatch
from whence_collector.sql_desk import SqlDesk
from whence_collector.sql_gate import STABLE_VIEWS
from whence_collector.store import Store, Writer


class NoDeriver:
    """Derives nothing: the views under test are those over raw rows."""

    def __init__(self, writer: Writer) -> None:
        """Take nothing from the database."""

    def take_paths(self, first_path_id: int, paths: Sequence[str], writer: Writer) -> None:
        """Leave paths without a class."""

    def begin(self, writer: Writer) -> None:
        """Nothing to look after."""

    def close(self, writer: Writer) -> None:
        """Nothing to leave behind."""

    def apply(self, batches: Sequence[ResolvedBatch], writer: Writer) -> None:
        """Leave the derived tables empty."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("sql") / "whence.duckdb")
    recorder = Recorder(NoDeriver, lambda: 0)
    batch = one_of_each()
    checked = check(batch)
    opened.write(lambda writer: recorder.record([Submission(checked, 1)], writer)).result()
    opened.write(lambda writer: writer.execute("INSERT INTO host VALUES (1, 'h1', '')")).result()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def desk(store: Store) -> Iterator[SqlDesk]:
    """Ask as the collector does: a copy, and a worker with a limit."""
    opened = SqlDesk(store)
    yield opened
    opened.close()


def select(desk: SqlDesk, query: str, max_rows: int = 1000) -> tuple[list[str], list[object]]:
    columns, rows = desk.select(query, max_rows)
    return columns, [json.loads(row) for row in rows]


def snapshot(store: Store) -> list[object]:
    with store.cursor() as reader:
        return [
            reader.rows("SELECT count(*), sum(bytes) FROM access"),
            reader.rows("SELECT table_name FROM information_schema.tables ORDER BY ALL"),
            reader.rows("SELECT name, value FROM duckdb_settings() WHERE scope = 'GLOBAL'"),
        ]


def test_columns_and_rows_come_back(desk: SqlDesk, store: Store) -> None:
    answer = select(desk, "SELECT path, op, ops FROM file_accesses WHERE op = 'write'")

    assert answer == (["path", "op", "ops"], [["/work/model.tmp", "write", 2]])


@pytest.mark.parametrize("view", STABLE_VIEWS)
def test_every_stable_view_can_be_read(desk: SqlDesk, store: Store, view: str) -> None:
    columns, _ = select(desk, f"FROM {view}")

    assert len(columns) > 1


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT 1 AS a;", [[1]]),
        ("SELECT 1 AS a -- the end", [[1]]),
        ("VALUES (1, 'x'), (2, NULL)", [[1, "x"], [2, None]]),
        ("WITH d AS (SELECT 5 AS n) SELECT n FROM d", [[5]]),
        (
            "WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 3) FROM w",
            [[1], [2], [3]],
        ),
        ("SELECT * FROM range(3)", [[0], [1], [2]]),
        ("SELECT unnest([1, 2]) AS n", [[1], [2]]),
        ("SELECT n FROM (SELECT unnest([3, 1, 2]) AS n) ORDER BY n DESC", [[3], [2], [1]]),
        ("SELECT 'nan'::DOUBLE, '-inf'::DOUBLE, 'NaN'", [[None, None, "NaN"]]),
        (
            "SELECT TIMESTAMP '2026-01-02 03:04:05.678', [1, NULL]",
            [["2026-01-02 03:04:05.678", [1, None]]],
        ),
        ("SELECT 1 AS a, 2 AS a", [[1, 2]]),
        ("SELECT count(*) FROM main.processes", [[2]]),
        ("SELECT argv FROM processes WHERE pid = 101", [[["python3", "train.py", ""]]]),
    ],
)
def test_what_a_select_may_do(desk: SqlDesk, store: Store, query: str, rows: list[object]) -> None:
    assert select(desk, query)[1] == rows


def test_rows_are_cut_at_the_cap(desk: SqlDesk, store: Store) -> None:
    assert select(desk, "SELECT * FROM range(1000000)", 3)[1] == [[0], [1], [2]]


def test_a_view_can_be_described(desk: SqlDesk, store: Store) -> None:
    columns, rows = select(desk, "DESCRIBE runs")

    assert (columns[0], rows[0][0]) == ("column_name", "run_id")  # type: ignore[index]  # a row is a list


ATTACKS = [
    "WITH d AS (DELETE FROM access RETURNING *) SELECT * FROM d",
    "WITH d AS (INSERT INTO host VALUES (9, 'x', '') RETURNING *) SELECT * FROM d",
    "WITH d AS (UPDATE access SET bytes = 0 RETURNING *) SELECT * FROM d",
    "EXPLAIN ANALYZE DELETE FROM access",
    "MERGE INTO host USING (SELECT 1 AS host_id) s USING (host_id) WHEN MATCHED THEN DELETE",
    "SELECT 1; DROP TABLE access",
    "SELECT 1\0; DROP TABLE access",
    "ROLLBACK; DELETE FROM access",
    "DELETE FROM runs",
    "DROP VIEW runs",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE MACRO mine() AS 1",
    "CREATE TABLE mine (n INTEGER)",
    "ATTACH ':memory:' AS other",
    "ATTACH '/tmp/other.duckdb'",
    "COPY access TO '/tmp/access.csv'",
    "COPY (SELECT 1) TO '/tmp/one.csv'",
    "COPY access FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/export'",
    "IMPORT DATABASE '/tmp/export'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "SET lock_configuration = false",
    "RESET memory_limit",
    "PRAGMA database_list",
    "CALL checkpoint()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "USE main",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "PIVOT runs ON kind",
    "SELECT * FROM access",
    "SELECT * FROM schema_version",
    "SELECT * FROM main.access",
    "SELECT * FROM whence.main.runs",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM read_json('/tmp/x.json')",
    "SELECT * FROM read_duckdb('/tmp/x.duckdb')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'http://127.0.0.1/x.csv'",
    "SELECT * FROM query('DELETE FROM access')",
    "SELECT * FROM query_table('access')",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM (SELECT * FROM access)",
    "SELECT (SELECT count(*) FROM access)",
    "SELECT 1 WHERE EXISTS (FROM access)",
    "SELECT * FROM runs UNION ALL SELECT 1 FROM access",
    "SELECT * FROM (WITH access AS (SELECT 1) FROM access) AS a, access",
    "SELECT nextval('s')",
    "SELECT current_setting('temp_directory')",
    "SELECT write_log('x')",
    "SELECT repeat('x', 3000000000)",
    "SELECT getvariable('x')",
    "DESCRIBE access",
    "SUMMARIZE access",
    "",
    ";",
]


@pytest.mark.parametrize("query", ATTACKS)
def test_an_attack_is_refused_in_one_sentence_and_changes_nothing(
    desk: SqlDesk, store: Store, query: str
) -> None:
    before = snapshot(store)

    with pytest.raises((QueryRefused, QueryInvalid)) as caught:
        select(desk, query)

    assert "\n" not in str(caught.value)
    assert snapshot(store) == before


@pytest.mark.parametrize(
    "query", ["SELEC 1", "SELECT nothing FROM runs", "SELECT 1 FROM (", "SELECT ?"]
)
def test_a_query_that_makes_no_sense_is_told_so(desk: SqlDesk, store: Store, query: str) -> None:
    with pytest.raises(QueryInvalid):
        select(desk, query)


def test_a_value_that_cannot_be_made_is_told_so_while_rows_are_read(
    desk: SqlDesk, store: Store
) -> None:
    with pytest.raises(QueryInvalid, match="Could not convert"):
        select(desk, "SELECT CAST(path AS INTEGER) FROM file_accesses")


def test_every_worker_comes_back_whatever_happened(desk: SqlDesk) -> None:
    for _ in range(20):
        _, rows = desk.select("SELECT * FROM range(100000)", 1000)
        next(rows)
        rows.close()  # type: ignore[attr-defined]  # it is a generator
        with pytest.raises(QueryRefused):
            desk.select("FROM access", 1)

    assert select(desk, "SELECT 1")[1] == [[1]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT len(range(2000000000))",
        "SELECT len(list(each.range)) FROM range(2000000000) AS each",
        "SELECT len(string_agg(a.range::VARCHAR)) FROM range(1000000) a, range(3000) b",
        "SELECT len(printf('%2000000000d', 1)) + len(printf('%1999999999d', 2))",
        "SELECT len(replace(replace(printf('%90000d', 1), ' ', printf('%90000d', 1)), '1', 'x'))",
    ],
)
def test_a_huge_value_ends_its_worker_and_nothing_else(desk: SqlDesk, query: str) -> None:
    """The collector's own memory does not grow; whoever asks next is answered."""
    before = resident_bytes()
    with pytest.raises((QueryTooLong, QueryInvalid)):
        select(desk, query)

    assert resident_bytes() - before < 64 << 20
    assert select(desk, "SELECT 1")[1] == [[1]]


def test_what_is_committed_is_seen_by_the_next_question(desk: SqlDesk, store: Store) -> None:
    count = "SELECT count(*) FROM hosts"
    before = select(desk, count)[1]
    store.write(lambda w: w.execute("INSERT INTO host VALUES (2, 'h2', '')")).result()
    time.sleep(0.5)  # longer than ten times what the copy of a small file takes
    after = select(desk, count)[1]
    store.write(lambda w: w.execute("DELETE FROM host WHERE host_id = 2")).result()

    assert (before, after) == ([[1]], [[2]])


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
