"""Renames, links, deletions and truncations that came as strings, and whose root they are in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.daemon_samples import (
    EPOCH,
    FILE,
    ONE,
    OTHER_FILE,
    OUR_MOUNTS,
    Daemon,
    on,
    version,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.record import Flag, Kind
from whenced.rows import (
    AccessRow,
    DigestRow,
    NameRow,
    ProcessKey,
)

BASH = ProcessKey(101, 2_000, 1)  # whom event() is about, found alive at its exec 1
CONTAINER_MOUNTS = 9


# --- names -------------------------------------------------------------------------------------


def test_a_rename_names_the_version_that_moved() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/model.tmp", ONE)
    daemon.name(Kind.RENAME, b"model.tmp", b"model.pt")

    (row,) = daemon.rows(NameRow)

    assert (row.change, row.path, row.new_path) == (
        (wire.NAME_CHANGE_RENAME, "/out/model.tmp", "/out/model.pt")
    )
    assert (row.file, row.directory, row.process) == (version(1), False, BASH)


def test_its_bytes_are_then_read_under_the_new_name() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/model.tmp", ONE)
    daemon.name(Kind.RENAME, b"model.tmp", b"model.pt")
    daemon.hashed(b"model", ONE)

    (row,) = daemon.rows(DigestRow)

    assert (row.file, row.path) == (version(1), "/out/model.pt")


def test_a_rename_of_a_directory_moves_what_is_below(tmp_path: Path) -> None:
    (tmp_path / "out" / "run1").mkdir(parents=True)
    daemon = Daemon(tmp_path)
    daemon.touch(Kind.WRITE, b"/out/tmp/model.pt", ONE)
    daemon.name(Kind.RENAME, b"tmp", b"run1")

    (row,) = daemon.rows(NameRow)

    assert (row.directory, row.file) == (True, None)
    assert daemon.versions.at_path(OUR_MOUNTS, b"/out/run1/model.pt") is not None


def test_an_exchange_swaps_both_names() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/a", ONE)
    daemon.touch(Kind.WRITE, b"/out/b", ONE, **on(OTHER_FILE))
    daemon.name(Kind.RENAME, b"a", b"b", flags=Flag.EXCHANGE)

    found = [daemon.versions.at_path(OUR_MOUNTS, path) for path in (b"/out/a", b"/out/b")]

    assert [state and state.key for state in found] == [OTHER_FILE, FILE]
    assert [row.change for row in daemon.rows(NameRow)] == [wire.NAME_CHANGE_EXCHANGE]


def test_a_link_is_a_further_name() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/model", ONE)
    daemon.name(Kind.LINK, b"model", b"best")

    (row,) = daemon.rows(NameRow)

    assert (row.change, row.path, row.new_path, row.file) == (
        (wire.NAME_CHANGE_LINK, "/out/model", "/out/best", version(1))
    )


@pytest.mark.parametrize("old", [b"/proc/self/fd/3", b"/proc/101/fd/3", b"/dev/fd/3"])
def test_the_first_name_of_a_file_without_one_is_a_rename(old: bytes) -> None:
    """O_TMPFILE, then linkat() through the descriptor."""
    daemon = Daemon()
    daemon.touch(Kind.OPEN_WRITE, b"/out/#42", EPOCH, flags=Flag.CREATED | Flag.NAMELESS)
    daemon.name(Kind.LINK, old, b"model")

    (row,) = daemon.rows(NameRow)

    assert (row.change, row.path, row.new_path, row.file) == (
        (wire.NAME_CHANGE_RENAME, "/out/#42", "/out/model", version(1))
    )


def test_a_forked_writer_may_name_it_too() -> None:
    daemon = Daemon()
    daemon.touch(Kind.OPEN_WRITE, b"/out/#42", EPOCH, flags=Flag.CREATED | Flag.NAMELESS)
    daemon.see(Kind.FORK, tgid=500, start_ns=5, other_tgid=101, other_start_ns=2_000)
    daemon.name(Kind.LINK, b"/proc/self/fd/3", b"model", tgid=500, start_ns=5)

    (row,) = daemon.rows(NameRow)

    assert (row.change, row.process.tgid) == (wire.NAME_CHANGE_RENAME, 500)


@pytest.mark.parametrize("path", [b"/out/#recycle", b"/out/#42#", b"/#42/model"])
def test_a_hash_sign_in_a_name_means_nothing(path: bytes) -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, path, ONE)
    daemon.name(Kind.LINK, path, b"best")

    (row,) = daemon.rows(NameRow)

    assert row.change == wire.NAME_CHANGE_LINK


def test_a_deletion_has_no_new_name() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/out/model")
    daemon.name(Kind.UNLINK, b"model")

    (row,) = daemon.rows(NameRow)

    assert (row.change, row.path, row.new_path) == (wire.NAME_CHANGE_DELETE, "/out/model", None)


def test_names_behind_links_are_told_as_the_kernel_would(tmp_path: Path) -> None:
    (tmp_path / "out" / "real").mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to("real")
    daemon = Daemon(tmp_path)
    daemon.touch(Kind.WRITE, b"/out/real/a", ONE)
    daemon.name(Kind.RENAME, b"link/a", b"link/b")

    (row,) = daemon.rows(NameRow)

    assert (row.path, row.new_path, row.file) == ("/out/real/a", "/out/real/b", version(1))


def test_a_name_that_was_lost_tells_nothing() -> None:
    daemon = Daemon()
    daemon.see(Kind.RENAME, text=99)

    assert daemon.rows(NameRow) == []


def test_truncate_by_path_is_an_access() -> None:
    daemon = Daemon()
    daemon.touch(Kind.READ, b"/out/model")
    daemon.name(Kind.TRUNCATE_PATH, b"model")

    rows = [row for row in daemon.rows(AccessRow) if row.op == wire.ACCESS_OP_TRUNCATE]

    assert [(row.path, row.file) for row in rows] == [("/out/model", version(0, 1))]


def test_truncate_of_a_path_that_leads_nowhere_is_none() -> None:
    daemon = Daemon()
    daemon.name(Kind.TRUNCATE_PATH, b"/no such root/model")

    assert daemon.rows(AccessRow) == []


# --- containers --------------------------------------------------------------------------------


def test_paths_of_a_container_resolve_through_its_first_process_that_lives() -> None:
    daemon = Daemon()
    found = []
    for tgid in (201, 202):
        daemon.run(b"/bin/sh", b"sh", tgid=tgid, mount_ns=CONTAINER_MOUNTS)
    found.append(dict(daemon.versions.jobs.namespace_tgids))
    daemon.see(Kind.EXIT, tgid=201)
    daemon.run(b"/bin/sh", b"sh", tgid=202, mount_ns=CONTAINER_MOUNTS, exec_id=2)
    found.append(dict(daemon.versions.jobs.namespace_tgids))

    assert found == [{CONTAINER_MOUNTS: 201}, {CONTAINER_MOUNTS: 202}]


def test_a_directory_of_a_container_says_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").symlink_to("/out")
    daemon = Daemon(tmp_path)
    daemon.touch(Kind.READ, b"/out/x/f", mount_ns=CONTAINER_MOUNTS)
    daemon.name(Kind.UNLINK, b"x/g")

    assert [row.path for row in daemon.rows(NameRow)] == ["/out/g"]
