"""Proof of life: the sequence does what it says, and what is seen of it is recognised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.daemon_samples import (
    EPOCH,
    FILE,
    ONE,
    OTHER_FILE,
    READER,
    Daemon,
    on,
    version,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced import canary
from whenced.canary_run import edge_of
from whenced.record import Flag, Kind
from whenced.rows import AccessRow, EndRow, NameRow, Row

OUT = Path("/out")


def test_the_sequence_leaves_what_it_says(tmp_path: Path) -> None:
    canary.sequence(tmp_path)

    left = {path.name: path.stat().st_size for path in tmp_path.iterdir()}

    assert left == {"third": 100, "fourth": 100}
    assert (tmp_path / "third").samefile(tmp_path / "fourth")


def test_it_runs_as_a_program_that_imports_nothing_of_ours(tmp_path: Path) -> None:
    program = [sys.executable, "-I", "-S", canary.__file__, str(tmp_path), canary.MARK + "token"]

    done = subprocess.run(program, check=False, cwd=tmp_path)

    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fourth", "third"]


def seen_by_a_daemon() -> list[Row]:
    """Return the rows of a daemon that is sent the records of the sequence."""
    daemon = Daemon()
    third = on(OTHER_FILE)
    daemon.touch(Kind.OPEN_WRITE, b"/out/first", EPOCH, flags=Flag.CREATED)
    daemon.touch(Kind.WRITE, b"/out/first", ONE)
    daemon.see(Kind.CLOSE_WRITE, version=ONE)
    daemon.touch(Kind.READ, b"/out/first", ONE)
    daemon.touch(Kind.MAP, b"/out/first", ONE)
    daemon.hashed(b"canary", ONE)
    daemon.name(Kind.RENAME, b"first", b"second")
    daemon.touch(Kind.OPEN_WRITE, b"/out/third", EPOCH, flags=Flag.CREATED, **third)
    daemon.touch(Kind.READ, b"/out/second", ONE)
    daemon.touch(Kind.WRITE, b"/out/third", ONE, **third)
    daemon.touch(Kind.TRUNCATE, b"/out/third", 2 * EPOCH + 1, **third)
    daemon.name(Kind.LINK, b"third", b"fourth")
    daemon.name(Kind.UNLINK, b"second")
    return daemon.observer.take_rows()


def test_every_expected_edge_is_seen() -> None:
    wanted = {(edge["op"], edge["path"]) for edge in canary.expected(OUT)}

    seen = {edge_of(row) for row in seen_by_a_daemon()}

    assert wanted - seen == set()


@pytest.mark.parametrize("kind", [Kind.READ, Kind.MAP, Kind.WRITE])
def test_an_edge_that_is_not_seen_is_missed(kind: Kind) -> None:
    """Guards the test above: without a record of the kind no row shows its edge."""
    name = {Kind.READ: "read", Kind.MAP: "map", Kind.WRITE: "write"}[kind]
    others = [row for row in seen_by_a_daemon() if (edge_of(row) or ("", ""))[0] != name]

    wanted = {(edge["op"], edge["path"]) for edge in canary.expected(OUT)}

    assert {op for op, _ in wanted - {edge_of(row) for row in others}} == {name}


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (wire.ACCESS_OP_READ, "read"),
        (wire.ACCESS_OP_WRITE, "write"),
        (wire.ACCESS_OP_EXECUTE, "execute"),
        (wire.ACCESS_OP_MAP, "map"),
        (wire.ACCESS_OP_TRUNCATE, "truncate"),
    ],
)
def test_accesses_are_edges(op: int, name: str) -> None:
    row = AccessRow(READER, version(0), "/f", op, 1, 1, 0, 0)

    assert edge_of(row) == (name, "/f")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (wire.NAME_CHANGE_RENAME, "rename"),
        (wire.NAME_CHANGE_LINK, "link"),
        (wire.NAME_CHANGE_DELETE, "delete"),
    ],
)
def test_changes_of_names_are_edges(change: int, name: str) -> None:
    assert edge_of(NameRow(READER, change, 0, "/f")) == (name, "/f")


def test_other_rows_are_none() -> None:
    assert edge_of(EndRow(READER, 0)) is None
    assert edge_of(NameRow(READER, wire.NAME_CHANGE_DELETE, 0, None)) is None
    assert edge_of(AccessRow(READER, version(0, file=FILE), None, 1, 1, 1, 0, 0)) is None
