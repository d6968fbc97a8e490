"""Backup of a collector that serves, read back; restore; what is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.collector_batches import one_of_each
from tests.unit.collector_bench import Bench

from whence_collector import backup, file_copy
from whence_collector.chores import CHORES
from whence_collector.errors import (
    BackupUnusable,
    CollectorError,
    DataDirectoryUnusable,
    InvalidSetting,
    StorageUnavailable,
)
from whence_collector.store import Store


def filled(bench: Bench) -> None:
    async def talk(running: Bench) -> None:
        await running.deliver(one_of_each(1))

    bench.run(talk)


def words(bench: Bench, file: Path) -> list[str]:
    return [str(file), "--data-dir", str(bench.data_dir)]


def test_a_copy_of_a_serving_collector_holds_what_was_acked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"

    async def talk(running: Bench) -> int:
        await running.deliver(one_of_each(1))
        await asyncio.to_thread(CHORES["backup"], words(bench, copy))
        await running.deliver(one_of_each(2))  # ingest goes on
        return int(running.rows("SELECT number FROM batch_ledger")[0][0])

    last = bench.run(talk)
    kept = Store(copy)
    with kept.cursor() as reader:
        numbers = reader.rows("SELECT number FROM batch_ledger")
    kept.close()

    assert (last, numbers) == (2, [(1,)])
    assert "read back; ingest waited" in capsys.readouterr().out
    assert list((tmp_path / "data" / "collector").glob("backup-*")) == []
    assert copy.stat().st_mode & 0o777 == 0o600


def test_without_a_running_collector_the_file_itself_is_copied(tmp_path: Path) -> None:
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"
    filled(bench)
    CHORES["backup"](words(bench, copy))

    assert backup.verify(copy).rows["batch_ledger"] == 1


def test_a_restored_collector_knows_what_the_copy_knew(tmp_path: Path) -> None:
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"
    filled(bench)
    CHORES["backup"](words(bench, copy))

    async def more(running: Bench) -> None:
        await running.deliver(one_of_each(2))

    bench.run(more)
    CHORES["restore"](words(bench, copy))

    async def ask(running: Bench) -> list[tuple[int]]:
        return running.rows("SELECT number FROM batch_ledger")

    kept = tmp_path / "data" / "collector" / "whence.duckdb.before-restore"
    assert bench.run(ask) == [(1,)]
    assert backup.verify(kept).rows["batch_ledger"] == 1


def test_a_running_collector_is_not_restored_under_its_feet(tmp_path: Path) -> None:
    """A process of its own asks, as a person does: within one process DuckDB has no lock."""
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"

    def restore() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "whence_collector", "restore", *words(bench, copy)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    async def talk(running: Bench) -> subprocess.CompletedProcess[str]:
        await asyncio.to_thread(CHORES["backup"], words(running, copy))
        return await asyncio.to_thread(restore)

    refused = bench.run(talk)
    database = tmp_path / "data" / "collector" / "whence.duckdb"

    assert refused.returncode == 2
    assert refused.stderr == (
        f"whence-collector: {database} is held by process {os.getpid()}; "
        "stop that collector or choose another --data-dir\n"
    )


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000])
def test_what_is_no_copy_is_refused_and_nothing_changes(tmp_path: Path, damage: bytes) -> None:
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"
    filled(bench)
    copy.write_bytes(damage)
    before = (tmp_path / "data" / "collector" / "whence.duckdb").read_bytes()

    with pytest.raises(BackupUnusable, match=r"copy\.duckdb"):
        CHORES["restore"](words(bench, copy))

    assert (tmp_path / "data" / "collector" / "whence.duckdb").read_bytes() == before


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(bytes(100_000))
    copied = file_copy.copy(source, target)
    with target.open("r+b") as file:
        file.seek(50_000)
        file.write(b"x")

    with pytest.raises(BackupUnusable, match="is not what was written"):
        backup.verify(target, copied.digest)


@pytest.mark.parametrize(
    ("given", "kind"), [("there", InvalidSetting), ("no/folder/copy", DataDirectoryUnusable)]
)
def test_a_copy_goes_to_a_new_file_of_a_folder_that_is_there(
    tmp_path: Path, given: str, kind: type[CollectorError]
) -> None:
    bench = Bench(tmp_path / "data")
    filled(bench)
    (tmp_path / "there").write_text("precious")

    with pytest.raises(kind):
        CHORES["backup"](words(bench, tmp_path / given))

    assert (tmp_path / "there").read_text() == "precious"


def test_a_refusal_of_the_collector_is_told_and_not_taken_for_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the chore must not open the database beside the collector that has it."""
    bench, copy = Bench(tmp_path / "data"), tmp_path / "copy.duckdb"

    def full(_: object) -> object:
        raise StorageUnavailable("no space is left beside the database")

    async def talk(running: Bench) -> None:
        monkeypatch.setattr(backup, "start", full)
        with pytest.raises(BackupUnusable, match="made no copy: no space is left"):
            await asyncio.to_thread(CHORES["backup"], words(running, copy))

    bench.run(talk)

    assert not copy.exists()
