"""Batches on disk until acked: order, restarts, damage, full disks, full memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from whenced import spool_file
from whenced.spool import DAMAGED_KEPT, LIMIT_BYTES, MEMORY_LIMIT_BYTES, Spool

OLD, NEW = "0" * 32, "f" * 32


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s, "nothing happened within 10 s"
        time.sleep(0.01)


@contextmanager
def spool(
    directory: Path,
    epoch: str = NEW,
    limit_bytes: int = LIMIT_BYTES,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    linger_s: float = 0.0,
) -> Iterator[Spool]:
    opened = Spool(directory, epoch, limit_bytes, memory_limit_bytes, linger_s)
    try:
        yield opened
    finally:
        opened.close()


def delivery(opened: Spool) -> list[tuple[str, int, bytes | None]]:
    """What the uplink would send, in its order."""
    result, position = [], -1
    while entry := opened.next_entry(position):
        result.append((entry.epoch, entry.number, opened.read(entry)))
        position = entry.position
    return result


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def whole(directory: Path) -> list[str]:
    """Return the names of batches that are written, without those still under way."""
    return [name for name in names(directory) if name.endswith(".batch")]


def test_batches_come_back_in_order_from_memory_and_from_disk(tmp_path: Path) -> None:
    with spool(tmp_path, linger_s=3600.0) as opened:
        for number in (1, 2, 3):
            assert opened.put(number, b"%d" % number, 1)

        assert delivery(opened) == [(NEW, n, b"%d" % n) for n in (1, 2, 3)]
        assert names(tmp_path) == []
    with spool(tmp_path) as opened:
        assert delivery(opened) == [(NEW, n, b"%d" % n) for n in (1, 2, 3)]


def test_older_epochs_are_first_and_numbers_are_not_sorted_as_text(tmp_path: Path) -> None:
    with spool(tmp_path, "f" * 32) as opened:
        for number in range(8, 12):
            opened.put(number, b"first", 1)
    time.sleep(0.02)  # file times tell the age of an epoch
    with spool(tmp_path, "0" * 32) as opened:
        opened.put(1, b"second", 1)
    with spool(tmp_path, "8" * 32) as opened:
        opened.put(1, b"third", 1)
        order = [(epoch[0], number) for epoch, number, _ in delivery(opened)]

    assert order == [("f", 8), ("f", 9), ("f", 10), ("f", 11), ("0", 1), ("8", 1)]


def test_an_ack_deletes_up_to_its_number_in_its_epoch(tmp_path: Path) -> None:
    with spool(tmp_path, OLD) as opened:
        opened.put(1, b"x", 1)
    with spool(tmp_path, NEW) as opened:
        for number in (1, 2, 3):
            opened.put(number, b"y", 1)
        wait_until(lambda: len(whole(tmp_path)) == 4)
        opened.acked(NEW, 2)
        opened.acked("unknown", 9)
        left = [(epoch, number) for epoch, number, _ in delivery(opened)]

        assert left == [(OLD, 1), (NEW, 3)]
        assert names(tmp_path) == [f"{OLD}-1.batch", f"{NEW}-3.batch"]
        assert opened.stats().disk_bytes == 2 * spool_file.BLOCK_BYTES


def test_what_is_acked_in_time_is_never_written(tmp_path: Path) -> None:
    with spool(tmp_path, linger_s=3600.0) as opened:
        opened.put(1, b"x", 1)
        opened.acked(NEW, 1)

        assert (opened.stats().batches, opened.stats().memory_bytes) == (0, 0)
    assert names(tmp_path) == []


def damage(
    directory: Path, change: Callable[[bytes], bytes]
) -> list[tuple[str, int, bytes | None]]:
    """Deliver three batches, the second of which was changed on disk."""
    with spool(directory) as opened:
        for number in (1, 2, 3):
            opened.put(number, b"payload", 10)
    victim = directory / f"{NEW}-2.batch"
    victim.write_bytes(change(victim.read_bytes()))
    with spool(directory, OLD) as opened:
        result = delivery(opened)
        stats = opened.stats()

        assert (stats.batches, stats.damaged_batches) == (2, 1)
        assert opened.take_lost() == {"a batch was damaged on disk": 1}
        assert opened.take_lost() == {}
    return result


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda whole: whole[:10],
        lambda whole: whole[:-1],
        lambda whole: whole + b"x",
        lambda whole: whole[:-1] + b"X",
        lambda whole: b"X" + whole[1:],
        lambda whole: whole[:12] + b"\xff" + whole[13:],
    ],
    ids=["empty", "torn header", "torn", "longer", "altered", "other magic", "altered row count"],
)
def test_a_damaged_file_is_moved_aside_and_the_rest_goes_on(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    result = damage(tmp_path, change)

    assert result == [(NEW, 1, b"payload"), (NEW, 2, None), (NEW, 3, b"payload")]
    assert names(tmp_path / "damaged") == [f"{NEW}-2.batch"]


def test_a_vanished_file_is_counted(tmp_path: Path) -> None:
    with spool(tmp_path) as opened:
        opened.put(1, b"x", 7)
        wait_until(lambda: opened.stats().memory_bytes == 0)
        (tmp_path / f"{NEW}-1.batch").unlink()

        assert delivery(opened) == [(NEW, 1, None)]
        assert opened.take_lost() == {"a batch could not be read from disk": 7}


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{NEW}-1.tmp").write_bytes(b"half")
    (tmp_path / "README").write_text("not ours")
    with spool(tmp_path) as opened:
        assert opened.stats().batches == 0
    assert names(tmp_path) == ["README"]


def test_refused_batches_are_kept_as_evidence_but_not_for_ever(tmp_path: Path) -> None:
    count = DAMAGED_KEPT + 3
    with spool(tmp_path, linger_s=3600.0) as opened:
        for number in range(count):
            opened.put(number, b"x", 2)
        while entry := opened.next_entry(-1):
            opened.set_aside(entry, "the collector refused a batch", "why")

        assert opened.take_lost() == {"the collector refused a batch": 2 * count}
        assert opened.stats().damaged_batches == count
    assert len(names(tmp_path / "damaged")) == DAMAGED_KEPT


def test_at_the_limit_batches_stay_in_memory_until_there_is_room(tmp_path: Path) -> None:
    limit_bytes = 2 * spool_file.BLOCK_BYTES
    with spool(tmp_path, limit_bytes=limit_bytes) as opened:
        for number in (1, 2, 3):
            assert opened.put(number, b"x", 1)
            time.sleep(0.01)  # one by one: the writer takes all that wait
        wait_until(lambda: opened.stats().storage_error is not None)

        assert len(names(tmp_path)) == 2
        assert [payload for _, _, payload in delivery(opened)] == [b"x"] * 3
        opened.acked(NEW, 1)
        wait_until(lambda: opened.stats().memory_bytes == 0)
        assert opened.stats().storage_error is None


def test_full_memory_refuses_the_newest(tmp_path: Path) -> None:
    with spool(tmp_path, linger_s=3600.0, memory_limit_bytes=10) as opened:
        assert opened.put(1, b"123456", 5)
        assert not opened.put(2, b"123456", 5)
        assert opened.put(2, b"1234", 5)

        stats = opened.stats()
        assert (stats.refused_batches, stats.lost_rows) == (1, 5)
        assert [number for _, number, _ in delivery(opened)] == [1, 2]


@contextmanager
def tiny_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_costs_nothing_while_memory_lasts(tmp_path: Path) -> None:
    payload = bytes(50_000)
    with tiny_disk(tmp_path / "disk") as disk, spool(disk) as opened:
        for number in range(1, 9):
            assert opened.put(number, payload, 1)
        wait_until(lambda: opened.stats().storage_error is not None)
        problem = opened.stats().storage_error

        assert problem == f"{disk} takes no batches: No space left on device"
        assert 0 < len(names(disk)) < 8
        assert all(name.endswith(".batch") for name in names(disk))
        assert [sent for _, _, sent in delivery(opened)] == [payload] * 8
        opened.acked(NEW, 6)
        wait_until(lambda: opened.stats().memory_bytes == 0)
        assert (names(disk), opened.stats().storage_error) == (
            [f"{NEW}-7.batch", f"{NEW}-8.batch"],
            None,
        )


def test_a_read_only_disk_still_delivers_and_forgets(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        with spool(disk, OLD) as opened:
            opened.put(1, b"old", 1)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with spool(disk, NEW) as opened:
            opened.put(1, b"new", 1)
            wait_until(lambda: opened.stats().storage_error is not None)

            assert [payload for _, _, payload in delivery(opened)] == [b"old", b"new"]
            opened.acked(OLD, 1)
            opened.acked(NEW, 1)
            assert delivery(opened) == []


def test_what_is_on_disk_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from whenced.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), 'f' * 32, linger_s=0.0)\n"
        "for number in range(1, 1_000_000):\n"
        "    spool.put(number, b'%d' % number * 500, 1)\n"
        "    while number % 20 == 0 and spool.stats().memory_bytes: pass\n"
        "    if number % 20 == 0: print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as victim:
        assert victim.stdout is not None
        promised = [int(victim.stdout.readline()) for _ in range(3)][-1]
        victim.kill()
    with spool(tmp_path, OLD) as opened:
        found = delivery(opened)

    assert len(found) >= promised
    assert found == [(NEW, n, b"%d" % n * 500) for n in range(1, len(found) + 1)]
