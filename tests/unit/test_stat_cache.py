"""The digest cache: what it remembers, what it must not trust, how it survives damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from whenced.stat_cache import RACY_NS, KnownDigest, StatCache, StatKey

KEY = StatKey(device=2049, inode=17, generation=5, size_bytes=100, mtime_ns=10**18, ctime_ns=10**18)
DIGEST = KnownDigest(b"b" * 32, b"s" * 32)
LATER_NS = KEY.ctime_ns + RACY_NS + 1


def changed(**fields: int) -> StatKey:
    values = {name: getattr(KEY, name) for name in StatKey.__slots__}
    return StatKey(**{**values, **fields})


def test_a_digest_is_found_again_after_a_restart(tmp_path: Path) -> None:
    first = StatCache(tmp_path / "cache.sqlite")
    first.put(KEY, DIGEST, LATER_NS)
    first.close()
    second = StatCache(tmp_path / "cache.sqlite")

    assert second.get(KEY) == DIGEST
    second.close()


@pytest.mark.parametrize(
    "field", ["device", "inode", "generation", "size_bytes", "mtime_ns", "ctime_ns"]
)
def test_any_other_stat_value_is_another_content(tmp_path: Path, field: str) -> None:
    cache = StatCache(tmp_path / "cache.sqlite")
    cache.put(KEY, DIGEST, LATER_NS)

    assert cache.get(changed(**{field: getattr(KEY, field) + 1})) is None
    cache.close()


def test_a_file_that_changed_just_before_its_hashing_is_not_trusted(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "cache.sqlite")
    accepted = cache.put(KEY, DIGEST, KEY.ctime_ns + RACY_NS)

    assert (accepted, cache.get(KEY)) == (False, None)
    cache.close()


def test_inode_numbers_use_all_64_bits(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "cache.sqlite")
    key = changed(inode=(1 << 64) - 3)
    cache.put(key, DIGEST, LATER_NS)

    assert cache.get(key) == DIGEST
    cache.close()


def test_the_oldest_entries_make_room(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "cache.sqlite", limit_entries=3)
    for inode in range(6):
        cache.put(changed(inode=inode), DIGEST, LATER_NS + inode)
    found = [inode for inode in range(6) if cache.get(changed(inode=inode))]

    assert found == [3, 4, 5]
    cache.close()


def test_a_file_that_is_no_database_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no database" * 100)
    cache = StatCache(path)
    cache.put(KEY, DIGEST, LATER_NS)
    aside = (tmp_path / "cache.sqlite.damaged").read_bytes()

    assert (cache.get(KEY), aside[:10]) == (DIGEST, b"this is no")
    cache.close()


def test_damage_in_the_middle_costs_the_entries_not_the_process(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    full = StatCache(path)
    for inode in range(2000):
        full.put(changed(inode=inode), DIGEST, LATER_NS + inode)
    full.close()
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xee" * (len(content) - 8192)
    path.write_bytes(content)
    cache = StatCache(path)
    lost = [cache.get(changed(inode=inode)) for inode in range(2000)]
    cache.put(KEY, DIGEST, LATER_NS)

    assert (None in lost, cache.get(KEY)) == (True, DIGEST)
    cache.close()


def test_a_cache_that_cannot_be_opened_still_answers(tmp_path: Path) -> None:
    cache = StatCache(tmp_path / "missing" / "cache.sqlite")
    cache.put(KEY, DIGEST, LATER_NS)

    assert cache.get(KEY) == DIGEST
    cache.close()
