"""Names that dentries and strings tell, and which of them is believed."""

from __future__ import annotations

import pytest
from tests.unit.daemon_samples import EPOCH, FILE, ONE, OTHER_FILE, Daemon, on, version

from whence_proto.v1 import ingest_pb2 as wire
from whenced.record import Flag, Kind
from whenced.rows import AccessRow, NameRow, UnseenRow


def names_of(daemon: Daemon) -> list[tuple[str | None, str | None]]:
    return [(row.path, row.new_path) for row in daemon.rows(NameRow)]


@pytest.fixture
def daemon() -> Daemon:
    """A file that was written as /out/model.tmp."""
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/model.tmp", ONE)
    daemon.rows(AccessRow)
    return daemon


def test_a_string_that_agrees_with_the_dentry_is_the_name(daemon: Daemon) -> None:
    daemon.name(Kind.RENAME, b"model.tmp", b"model.pt", b"/out/model.pt", **on(FILE))

    assert names_of(daemon) == [("/out/model.tmp", "/out/model.pt")]


def test_a_swapped_new_name_is_not_believed(daemon: Daemon) -> None:
    daemon.name(Kind.RENAME, b"model.tmp", b"decoy", b"/out/model.pt", **on(FILE))
    state = daemon.versions.at_path(0, b"/out/model.pt") or daemon.versions.of_key(FILE)

    assert names_of(daemon) == [("/out/model.tmp", "/out/model.pt")]
    assert state is not None
    assert state.path == b"/out/model.pt"


def test_swapped_old_and_new_names_are_not_believed(daemon: Daemon) -> None:
    daemon.name(Kind.RENAME, b"innocent", b"decoy", b"/out/model.pt", **on(FILE))

    assert names_of(daemon) == [("/out/model.tmp", "/out/model.pt")]


def test_an_old_name_of_another_file_is_not_believed(daemon: Daemon) -> None:
    daemon.touch(Kind.WRITE, b"/out/other", ONE, **on(OTHER_FILE))
    daemon.name(Kind.RENAME, b"other", b"model.pt", b"/out/model.pt", **on(FILE))

    assert names_of(daemon) == [("/out/model.tmp", "/out/model.pt")]


def test_another_way_to_the_same_file_keeps_the_programs_spelling(daemon: Daemon) -> None:
    """A bind mount: the dentry is walked to another mount point; nothing stands at either here."""
    daemon.name(Kind.RENAME, b"model.tmp", b"model.pt", b"/elsewhere/model.pt", **on(FILE))

    assert names_of(daemon) == [("/out/model.tmp", "/out/model.pt")]


def test_a_deletion_names_the_dentry_that_went(daemon: Daemon) -> None:
    daemon.name(Kind.UNLINK, b"decoy", None, b"/out/model.tmp", **on(FILE))
    (row,) = daemon.rows(NameRow)

    assert (row.change, row.path, row.file) == (
        (wire.NAME_CHANGE_DELETE, "/out/model.tmp", version(1))
    )


def test_a_directory_is_known_by_the_kernels_word() -> None:
    daemon = Daemon()
    daemon.touch(Kind.WRITE, b"/out/draft/part", ONE)
    flags = int(Flag.DIRECTORY)
    daemon.name(Kind.RENAME, b"draft", b"final", b"/out/final", flags=flags, **on(OTHER_FILE))
    (row,) = daemon.rows(NameRow)
    state = daemon.versions.of_key(FILE)

    assert row.directory
    assert state is not None
    assert state.path == b"/out/final/part"


def test_a_truncation_by_path_is_of_the_file_behind_a_link(daemon: Daemon) -> None:
    number = 2 * EPOCH
    daemon.name(Kind.TRUNCATE_PATH, b"latest", None, b"/out/model.tmp", version=number, **on(FILE))
    rows = [row for row in daemon.rows(AccessRow) if row.op == wire.ACCESS_OP_TRUNCATE]

    assert [(row.path, row.file) for row in rows] == [("/out/model.tmp", version(2))]


def test_a_string_that_was_lost_leaves_the_dentry(daemon: Daemon) -> None:
    daemon.name(Kind.UNLINK, b"", None, b"/out/model.tmp", **on(FILE))

    assert names_of(daemon) == [("/out/model.tmp", None)]


@pytest.mark.parametrize(
    ("number", "words"), [(5, "GPUDirect Storage was used"), (99, "(number 99)")]
)
def test_a_way_round_capture_is_told_in_words(number: int, words: str) -> None:
    daemon = Daemon()
    daemon.see(Kind.UNSEEN, value=number)
    (row,) = daemon.rows(UnseenRow)

    assert words in row.reason
