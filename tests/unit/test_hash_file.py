"""Which bytes get a digest: versions, writers, changes, holes, known content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from tests.unit.fake_probe import VERSION, FakeProbe, answer, request_for

from whenced.hash_file import Reading, Unsettled, digest_file, settle
from whenced.hash_open import OpenedFile, fstat_probe, open_requested
from whenced.stat_cache import StatCache


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(b"first" * 1000)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StatCache]:
    cache = StatCache(tmp_path / "cache.sqlite")
    yield cache
    cache.close()


def age(path: Path, reading: Reading) -> Reading:
    """Return `reading` with a clock by which `path` changed a second before."""
    now_ns = path.stat().st_ctime_ns + 1_000_000_000
    return replace(reading, unix_ns=lambda: now_ns)


def test_an_unchanged_file_is_verified_with_both_digests(data: Path) -> None:
    reply = answer(request_for(data, written=True), FakeProbe())
    content = data.read_bytes()
    expected = ("verified", blake3(content).digest(), hashlib.sha256(content).digest(), 5000)

    assert (reply.state, reply.blake3, reply.sha256, reply.size_bytes) == expected
    assert reply.version == VERSION


def test_inputs_get_no_sha256(data: Path) -> None:
    reply = answer(request_for(data), FakeProbe())

    assert (reply.state, reply.sha256) == ("verified", b"")


@pytest.mark.parametrize("size_bytes", [0, 1, 1 << 18, (1 << 18) + 1, (3 << 20) + 17])
def test_all_bytes_count_at_every_size(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "sized"
    path.write_bytes(os.urandom(size_bytes))
    reply = answer(request_for(path), FakeProbe())

    assert reply.blake3 == blake3(path.read_bytes()).digest()


def test_any_version_is_asked_for_by_minus_one(data: Path) -> None:
    reply = answer(request_for(data, version=-1), FakeProbe(version=12))

    assert (reply.state, reply.version) == ("verified", 12)


def test_an_overwritten_version_is_torn_and_says_which(data: Path) -> None:
    reply = answer(request_for(data), FakeProbe(version=VERSION + 1))
    versions = f"version {VERSION} seen, {VERSION + 1} found"

    assert reply.state == "torn"
    assert reply.reason == f"overwritten before it could be read ({versions})"


def test_a_version_that_moves_during_the_read_is_torn(data: Path) -> None:
    probe = FakeProbe()
    probe.on_call[2] = lambda: setattr(probe, "version", VERSION + 1)
    reply = answer(request_for(data), probe)

    assert (reply.state, reply.blake3) == ("torn", b"")


def test_a_writer_before_the_read_makes_it_busy(data: Path) -> None:
    assert answer(request_for(data), FakeProbe(writers=1)).state == "busy"


def test_a_writer_that_comes_during_the_read_makes_it_busy(data: Path) -> None:
    probe = FakeProbe()
    probe.on_call[2] = lambda: setattr(probe, "writers", 1)

    assert answer(request_for(data), probe).state == "busy"


def test_a_running_program_denies_writers_and_is_read(data: Path) -> None:
    assert answer(request_for(data), FakeProbe(writers=-1)).state == "verified"


def test_a_file_that_shrinks_during_the_read_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    path.write_bytes(bytes(4 << 20))
    probe = FakeProbe()
    reading = Reading(probe, pause=lambda: os.truncate(path, 1 << 20))

    assert answer(request_for(path), probe, reading).state == "torn"


def test_a_file_that_grows_unseen_by_the_kernel_is_torn(data: Path) -> None:
    probe = FakeProbe()

    def grow() -> None:
        with data.open("ab") as file:
            file.write(b"more")

    assert answer(request_for(data), probe, Reading(probe, pause=grow)).state == "torn"


def test_a_touch_during_the_read_is_not_a_change(data: Path) -> None:
    probe = FakeProbe()
    probe.on_call[2] = lambda: os.utime(data, (1, 1))

    assert answer(request_for(data), probe).state == "verified"


def test_a_rename_during_the_read_is_not_a_change(data: Path) -> None:
    probe = FakeProbe()
    probe.on_call[2] = lambda: os.rename(data, data.with_name("final.bin"))  # noqa: PTH104 - returns None, as the hook must

    assert (answer(request_for(data), probe).state, probe.calls) == ("verified", 2)


def test_without_a_kernel_version_size_and_mtime_decide(data: Path) -> None:
    request = request_for(data, device=-1, generation=-1)
    data.write_bytes(b"other content")
    opened = open_requested(request, fstat_probe)
    assert isinstance(opened, OpenedFile)
    reply = digest_file(opened.fd, request, Reading(fstat_probe))
    os.close(opened.fd)

    assert reply.state == "torn"


# --- holes -----------------------------------------------------------------------------------


def test_a_huge_file_of_holes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    reply = answer(request_for(path), FakeProbe())

    assert reply.reason == f"sparse: only 0 of {1 << 40} bytes exist"


def test_holes_count_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    size_bytes = (1 << 30) + 4096 * 3
    with path.open("wb") as file:
        file.seek(512 << 20)
        file.write(b"island" * 1000)
        file.truncate(size_bytes)
    expected = blake3()
    expected.update(bytes(512 << 20))
    expected.update(b"island" * 1000)
    expected.update(bytes(size_bytes - (512 << 20) - 6000))

    assert answer(request_for(path), FakeProbe()).blake3 == expected.digest()


# --- cache -----------------------------------------------------------------------------------


def test_unchanged_content_is_not_read_twice(data: Path, cache: StatCache) -> None:
    probe = FakeProbe()
    reads: list[int] = []
    reading = age(data, Reading(probe, cache, pause=lambda: reads.append(1)))
    first = answer(request_for(data), probe, reading)
    second = answer(request_for(data), probe, reading)

    assert (len(reads), first.blake3) == (1, second.blake3)


def test_a_known_digest_without_sha256_is_completed_for_an_output(
    data: Path, cache: StatCache
) -> None:
    probe = FakeProbe()
    reading = age(data, Reading(probe, cache))
    answer(request_for(data), probe, reading)
    reply = answer(request_for(data, written=True), probe, reading)

    assert reply.sha256 == hashlib.sha256(data.read_bytes()).digest()


def test_a_writer_is_seen_on_known_content_too(data: Path, cache: StatCache) -> None:
    probe = FakeProbe()
    reading = age(data, Reading(probe, cache))
    answer(request_for(data), probe, reading)
    probe.writers = 1

    assert answer(request_for(data), probe, reading).state == "busy"


@pytest.mark.parametrize(("later_version", "kept"), [(VERSION, True), (VERSION + 1, False)])
def test_a_fresh_file_is_cached_once_the_kernel_vouches_for_it(
    data: Path, cache: StatCache, later_version: int, kept: bool
) -> None:
    probe = FakeProbe()
    fresh: list[Unsettled] = []
    just_now_ns = data.stat().st_ctime_ns + 1
    reading = Reading(probe, cache, unsettled=fresh.append, unix_ns=lambda: just_now_ns)
    answer(request_for(data), probe, reading)
    probe.version = later_version
    with data.open("rb") as file:
        settled = settle(file.fileno(), fresh[0], age(data, reading))

    assert (settled, cache.get(fresh[0].seen.key()) is not None) == (kept, kept)
