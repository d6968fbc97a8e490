"""The edge index kept on disk: a start with it knows what a start without it knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.unit.traced import Machine

from whence_collector import index_file, index_keeper
from whence_collector.derive import Deriver
from whence_collector.store import Store, Writer


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A host whose index is kept at tmp_path/edges.index."""
    store = Store(tmp_path / "whence.duckdb")
    try:
        yield Machine(store, partial(Deriver, index_path=tmp_path / "edges.index"))
    finally:
        store.close()


def work(machine: Machine, first: int) -> None:
    """Write some files, read some of the last work's, and store that as one more batch."""
    host = machine.host
    process = host.spawn(None, "python", f"work{first}.py")
    for number in range(first, first + 40):
        host.write(process, 100 + number, f"/d/{number}.bin")
        host.digest(100 + number, f"content {number}")
        host.read(process, 100 + max(number - 40, 0), f"/d/{max(number - 40, 0)}.bin")
    second = host.spawn(None, "python", f"more{first}.py")
    host.write(second, 100 + first, f"/d/{first}.bin")
    host.end(process)
    host.end(second)
    machine.deliver()
    ledger = f"('e', {first}, 1, {first})"
    stored = "INSERT INTO batch_ledger (epoch, number, boot_id, committed_ns) VALUES "
    store(machine, "DELETE FROM batch_ledger", stored + ledger)


def store(machine: Machine, *statements: str) -> None:
    """Run statements in one transaction."""

    def execute(writer: Writer) -> None:
        for statement in statements:
            writer.execute(statement)

    machine.store.write(execute).result()


def keep(machine: Machine) -> None:
    """Stop as a collector does."""
    deriver = machine.deriver
    assert deriver is not None
    machine.store.write(deriver.close).result()


def known_after_start(machine: Machine, path: Path | None) -> dict[str, list[int]]:
    """Return what a new deriver knows of accesses."""
    made = machine.store.write(lambda writer: Deriver(writer, index_path=path)).result()
    return {name: each.tolist() for name, each in made._index.columns().items()}


def accesses_read(machine: Machine, path: Path) -> int:
    """Return how many accesses a start reads."""
    with machine.store.cursor() as reader:
        kept = index_file.load(path, reader)
        query = "SELECT count(*) FROM access WHERE rowid > ?"
        return int(reader.rows(query, (kept.row if kept else -1,))[0][0])


def test_a_start_after_a_stop_reads_no_access(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    work(machine, 40)
    keep(machine)

    path = tmp_path / "edges.index"
    assert accesses_read(machine, path) == 0
    assert known_after_start(machine, path) == known_after_start(machine, None)


def test_a_start_after_a_kill_reads_what_came_since(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    keep(machine)
    work(machine, 40)
    with machine.store.cursor() as reader:
        stored = reader.rows("SELECT count(*) FROM access")[0][0]

    path = tmp_path / "edges.index"
    assert 0 < accesses_read(machine, path) < stored
    assert known_after_start(machine, path) == known_after_start(machine, None)


def test_old_rows_that_are_gone_cost_a_whole_reading(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    keep(machine)
    store(
        machine,
        "CREATE TABLE other AS SELECT * FROM access WHERE rowid > 7",
        "DELETE FROM access",
        "INSERT INTO access SELECT * FROM other",
    )
    work(machine, 40)
    machine.store.still(lambda path: None).result()

    path = tmp_path / "edges.index"
    assert known_after_start(machine, path) == known_after_start(machine, None)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"text"])
def test_a_damaged_file_is_passed_over(machine: Machine, tmp_path: Path, damage: bytes) -> None:
    work(machine, 0)
    keep(machine)
    path = tmp_path / "edges.index"
    path.write_bytes(damage)

    assert known_after_start(machine, path) == known_after_start(machine, None)


def test_a_file_cut_short_is_passed_over(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    keep(machine)
    path = tmp_path / "edges.index"
    path.write_bytes(path.read_bytes()[:-100])

    assert known_after_start(machine, path) == known_after_start(machine, None)


def test_the_file_of_another_database_is_passed_over(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    keep(machine)
    other = Store(tmp_path / "other.duckdb")
    with other.cursor() as reader:
        found = index_file.load(tmp_path / "edges.index", reader)
    other.close()

    assert found is None


def test_it_is_kept_while_accesses_come(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_keeper, "EVERY_ACCESSES", 50)
    work(machine, 0)
    deriver = machine.deriver
    assert deriver is not None
    machine.store.write(deriver.begin).result()
    writing = deriver._keeper._writing
    assert writing is not None
    writing.join()

    assert accesses_read(machine, tmp_path / "edges.index") == 0


def test_a_disk_that_refuses_costs_only_time(machine: Machine, tmp_path: Path) -> None:
    work(machine, 0)
    (tmp_path / "edges.index.new").mkdir()
    keep(machine)

    assert not (tmp_path / "edges.index").exists()
