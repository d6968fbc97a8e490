"""Daemons of another version than the collector: what an older recorded, what a newer adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.collector_batches import one_of_each
from tests.unit.collector_bench import Bench

from whence_proto.v1 import ingest_pb2 as wire

RECORDED = sorted((Path(__file__).parent.parent / "recorded" / "wire").glob("batch-*.bin"))
# Fields that no version has: a varint, and bytes.
UNKNOWN = b"\xe0\x76\x07" + b"\xea\x76\x03new"
COUNTED = ("access", "version", "process", "digest", "batch_ledger")


def stored(tmp_path: Path, payload: bytes) -> dict[str, int]:
    """Deliver a batch as bytes; return rows by table."""
    bench = Bench(tmp_path / "data")

    async def talk(running: Bench) -> dict[str, int]:
        await running.deliver(wire.Batch.FromString(payload))
        found = running.rows("SELECT table_name FROM duckdb_tables()")
        known = {name for (name,) in found} & set(COUNTED)
        return {name: running.rows(f"SELECT count(*) FROM {name}")[0][0] for name in sorted(known)}  # noqa: S608 -- our own names

    counts: dict[str, int] = bench.run(talk)
    return counts


def test_a_batch_of_every_released_version_is_kept() -> None:
    assert [path.name for path in RECORDED] == ["batch-0.1.0.bin"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_an_older_daemon_recorded_is_stored_whole(tmp_path: Path, path: Path) -> None:
    """A spool may hold it for weeks: every row of that day's batch is stored by today's code."""
    then = wire.Batch.FromString(path.read_bytes())
    tables = [field.name for field, _ in then.ListFields()]
    counts = stored(tmp_path, path.read_bytes())

    assert {"accesses", "digests"} <= set(tables)
    assert counts["access"] == len(then.accesses.process)
    assert min(counts.values()) > 0


def test_what_a_newer_daemon_adds_is_passed_over(tmp_path: Path) -> None:
    known = one_of_each(1).SerializeToString()

    assert stored(tmp_path / "new", known + UNKNOWN) == stored(tmp_path / "now", known)
