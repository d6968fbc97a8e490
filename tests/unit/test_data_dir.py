"""The daemon's data directory: made, locked, of a known layout; and the exit codes."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from whenced import errors
from whenced.data_dir import claimed


def test_it_is_made_for_root_alone(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b") as data_dir:
        assert data_dir.daemon == tmp_path / "a" / "b" / "daemon"
        assert stat.S_IMODE(data_dir.daemon.stat().st_mode) == 0o700
        assert data_dir.spool.is_dir()
    with claimed(tmp_path / "a" / "b") as data_dir:
        assert (data_dir.daemon / "version").read_text() == "1\n"


def test_a_second_daemon_is_told_who_is_first(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(errors.DataDirBusy) as caught, claimed(tmp_path):
        pass

    assert str(caught.value) == (
        f"another whenced (process {os.getpid()}) works in {tmp_path}: "
        "stop it or set WHENCE_DATA_DIR to another directory"
    )


def test_a_later_layout_is_left_alone(tmp_path: Path) -> None:
    with claimed(tmp_path) as data_dir:
        (data_dir.daemon / "version").write_text("2\n")
    with (
        pytest.raises(errors.DataDirTooNew, match=r"layout 2 .* knows 1: upgrade whence or"),
        claimed(tmp_path),
    ):
        pass

    assert (tmp_path / "daemon" / "version").read_text() == "2\n"


def test_a_version_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "version").write_text("two")
    with (
        pytest.raises(errors.DataDirUnusable, match="does not hold a number: restore it"),
        claimed(tmp_path),
    ):
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(errors.DataDirUnusable, match=r"cannot be used \(Not a directory\)"),
        claimed(tmp_path / "file"),
    ):
        pass


def test_a_disk_without_room(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", str(tmp_path)]
    subprocess.run(mount, check=True)
    try:
        with (
            pytest.raises(errors.DataDirUnusable, match=r"No space left on device\): free space"),
            claimed(tmp_path),
        ):
            pass
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_every_error_has_an_exit_code() -> None:
    kinds = errors.WhencedError.__subclasses__()

    assert {kind: errors.exit_code(kind("x")) for kind in kinds} == dict.fromkeys(kinds, 2)
    assert set(kinds) == set(errors.EXIT_CODES)


def test_two_starts_in_one_second_of_a_boot_get_different_numbers(tmp_path: Path) -> None:
    with claimed(tmp_path) as data_dir:
        numbers = [data_dir.number_start("boot-a", second) for second in (70, 70, 70, 71, 90)]
        other_boot = data_dir.number_start("boot-b", 5)
        (data_dir.daemon / "last_start").write_text("torn")
        after_damage = data_dir.number_start("boot-b", 6)

    assert (numbers, other_boot, after_damage) == ([70, 71, 72, 73, 90], 5, 6)


def test_a_number_that_cannot_be_kept_is_one_sentence(tmp_path: Path) -> None:
    with claimed(tmp_path) as data_dir:
        (data_dir.daemon / "last_start.new").mkdir()
        with pytest.raises(errors.DataDirUnusable, match="cannot be used"):
            data_dir.number_start("boot-a", 1)
