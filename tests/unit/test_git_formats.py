"""Git's packs, deltas and index versions; dulwich is the oracle."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from dulwich import porcelain
from dulwich.pack import create_delta, write_pack
from dulwich.repo import Repo
from tests.unit.sample_repository import commit, make_repository

from whenced.git_index import parse_index
from whenced.git_objects import DamagedError, Deadline, Objects, apply_delta
from whenced.openat import open_root


def test_deltas_in_packs(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    lines = [f"line {n}\n" for n in range(2000)]
    wanted = {}
    with Repo(str(work)) as repo:
        for n in range(8):
            lines[n * 100] = f"changed {n}\n"
            (work / "train.py").write_text("".join(lines))
            porcelain.add(repo, [str(work / "train.py")])
            commit(repo)
        store = repo.object_store
        objects = [(store[oid], None) for oid in store]
        wanted = {o.sha().digest(): (o.type_name, o.as_raw_string()) for o, _ in objects}
        pack = tmp_path / "bare" / "pack" / "pack-1"
        pack.parent.mkdir(parents=True)
        write_pack(str(pack), objects, repo.object_format, deltify=True)
    root = open_root(0)
    read = Objects(root, os.fsencode(tmp_path / "bare"), Deadline(60 * 10**9))
    found = {oid: read.read(oid) for oid in wanted}
    read.close()
    os.close(root)

    assert found == wanted


def test_deltas_are_applied_as_dulwich_makes_them() -> None:
    base = b"".join(b"%d\n" % n for n in range(30_000))
    target = base[5000:90_000] + b"inserted" * 300 + base[:4000] + base[100_000:]

    assert apply_delta(base, b"".join(create_delta(base, target))) == target


@pytest.mark.parametrize(
    "delta", [b"", b"\x03", b"\x03\x05\x91", b"\x03\x05\x00", b"\x03\x05\x01a", b"\x09\x01\x01a"]
)
def test_a_malformed_delta_is_refused(delta: bytes) -> None:
    with pytest.raises(DamagedError):
        apply_delta(b"abc", delta)


def index_bytes(version: int, entries: list[bytes]) -> bytes:
    return b"DIRC" + struct.pack(">II", version, len(entries)) + b"".join(entries) + bytes(20)


def fixed(flags: int) -> bytes:
    return struct.pack(">10I20sH", 1, 2, 3, 4, 0, 5, 0o100644, 0, 0, 6, b"o" * 20, flags)


def test_version_4_shares_the_beginnings_of_paths() -> None:
    data = index_bytes(4, [fixed(9) + b"\0src/a.py\0", fixed(9) + b"\x04b.py\0"])

    assert [entry.path for entry in parse_index(data).entries] == [b"src/a.py", b"src/b.py"]


def test_version_3_marks_what_a_sparse_checkout_leaves_out() -> None:
    entry = fixed(0x4000 | 1) + struct.pack(">H", 0x4000) + b"a\0"
    padded = entry + bytes(-len(entry) % 8)

    assert [entry.unwatched for entry in parse_index(index_bytes(3, [padded])).entries] == [True]


def test_times_are_in_nanoseconds() -> None:
    entry = fixed(1) + b"a"
    (found,) = parse_index(index_bytes(2, [entry + bytes(8 - len(entry) % 8)])).entries

    assert (found.ctime_ns, found.mtime_ns) == (1_000_000_002, 3_000_000_004)
