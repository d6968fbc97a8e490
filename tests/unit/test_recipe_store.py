"""Rows of the recipe: from the wire into their tables, each repeated value once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.collector_batches import ZERO_UNIX_NS, one_of_each

from whence_collector.hosts import Origin
from whence_collector.recipe_rows import merged, recipe_rows
from whence_collector.recipe_store import RecipeStore, load_environments
from whence_collector.resolved import NO_RECIPE, EnvironmentRow, RecipeRows
from whence_collector.store import Store, Writer
from whence_proto.v1 import ingest_pb2 as wire

AT = ZERO_UNIX_NS
PROCESSES, VERSIONS = [0, 10, 11], [0, 20, 21]


@pytest.fixture
def told() -> RecipeRows:
    return recipe_rows(one_of_each(), Origin(1, 1, 1), PROCESSES, VERSIONS)


def stored(store: Store, *batches: RecipeRows) -> None:
    """Store batches, one transaction for each, by one memory."""
    kept: list[RecipeStore] = []

    def keep(writer: Writer, rows: RecipeRows) -> None:
        kept.extend([] if kept else [RecipeStore(writer)])
        kept[0].store(rows, writer)

    for rows in batches:
        store.write(lambda writer, rows=rows: keep(writer, rows)).result()  # type: ignore[misc]


def test_each_table_of_the_wire_lands_in_its_own(tmp_path: Path, told: RecipeRows) -> None:
    store = Store(tmp_path / "whence.duckdb")
    stored(store, told)
    expected = {
        "SELECT * FROM process_environment JOIN environment USING (environment_id)": [
            (11, 1, False, ["RANK", "SEED"], ["0", ""])
        ],
        "SELECT * FROM process_package JOIN package USING (package_id)": [
            (11, 1, True, AT + 5, "pypi", "torch", "2.9.1", None, b"r" * 32)
        ],
        "SELECT process_id, repository, path, change, reason, at_unix_ns, content "
        "FROM code_change JOIN difference USING (difference_id)": [
            (11, "/work", "train.py", 1, None, AT + 6, "@@ -1 +1 @@")
        ],
        "SELECT * FROM file_origin": [
            (21, "huggingface", "model", "org/base", "a" * 40, None, "model.pt", AT + 7)
        ],
        "SELECT * FROM container": [(1, "f" * 64, "docker", None, "base:1", None, AT + 8)],
    }

    with store.cursor() as reader:
        found = {sql: reader.rows(sql) for sql in expected}
    store.close()

    assert found == expected


def test_what_repeats_is_stored_once(tmp_path: Path, told: RecipeRows) -> None:
    store = Store(tmp_path / "whence.duckdb")
    stored(store, told, told, merged([told, told]))
    counts = "SELECT (SELECT count(*) FROM environment), (SELECT count(*) FROM package), "
    counts += "(SELECT count(*) FROM difference), (SELECT count(*) FROM process_package)"

    with store.cursor() as reader:
        found = reader.rows(counts)
    store.close()

    assert found == [(1, 1, 1, 4)]


def test_after_a_restart_numbers_go_on(tmp_path: Path, told: RecipeRows) -> None:
    store = Store(tmp_path / "whence.duckdb")
    stored(store, told)
    other = RecipeRows(environments=(EnvironmentRow(12, False, (("RANK", "1"),)),))
    stored(store, other)

    environments = store.write(lambda writer: load_environments([11, 12, 13], writer)).result()
    store.close()

    assert environments == {11: (1, {"RANK": "0", "SEED": ""}), 12: (2, {"RANK": "1"})}


def test_a_batch_without_a_recipe_costs_nothing() -> None:
    empty = recipe_rows(wire.Batch(strings=["x"]), Origin(1, 1, 1), [0], [0])

    assert empty is NO_RECIPE
    assert merged([empty, empty]) is NO_RECIPE
