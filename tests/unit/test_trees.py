"""Trees: their digest, what of a run makes one, sharing of parts, coverage, membership."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ancestry_asked import Ancestry
from tests.unit.traced import Machine, blake3_of

from whence_collector import aftermath, tree_store
from whence_collector.derive import Deriver
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.store import Store
from whence_collector.tree_shapes import shapes
from whence_proto.tree_digest import Member, bucket, bucket_of, buckets_of, name_of, root
from whence_proto.v1 import ancestry_pb2 as wire
from whence_proto.v1 import query_pb2


def member(path: str, content: str = "", size: int = 10) -> Member:
    return Member(path, blake3((content or path).encode()).digest(), size)


def digest_of_tree(members: list[Member]) -> bytes:
    return root({number: bucket(each) for number, each in buckets_of(members).items()})


MEMBERS = [member(f"{n:04}.bin") for n in range(300)]

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, st.integers(0, 3), min_size=1), st.randoms())
def test_the_order_of_members_does_not_matter(paths: dict[str, int], random: object) -> None:
    members = [member(path, str(content)) for path, content in paths.items()]
    other = list(reversed(members))

    assert digest_of_tree(members) == digest_of_tree(other)


@pytest.mark.parametrize(
    "changed",
    [
        MEMBERS[1:],
        [*MEMBERS, member("more")],
        [member("0000.bin", "other"), *MEMBERS[1:]],
        [MEMBERS[0]._replace(path="moved.bin"), *MEMBERS[1:]],
        [MEMBERS[0]._replace(size_bytes=11), *MEMBERS[1:]],
        [
            MEMBERS[0]._replace(blake3=MEMBERS[1].blake3),
            MEMBERS[1]._replace(blake3=MEMBERS[0].blake3),
            *MEMBERS[2:],
        ],
    ],
)
def test_name_content_and_size_of_every_member_count(changed: list[Member]) -> None:
    assert digest_of_tree(changed) != digest_of_tree(MEMBERS)


def test_the_digest_is_a_promise() -> None:
    """It is stored and compared between hosts: this value must never change."""
    assert digest_of_tree(MEMBERS[:3]).hex() == DIGEST_OF_THREE


DIGEST_OF_THREE = "a6ec88754b1f487071d35771172cd73b00dfe31feef9a2e6b001adb8be9a958e"


def of(folder: str, *names: str, kind: str = "data") -> list[tuple[str, str]]:
    return [(f"{folder}/{name}", kind) for name in names]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], []),
        (of("/d/ds", "a.bin", "b.bin"), []),
        (of("/d/ds", "a.bin", "b.bin", "c.bin"), [("/d/ds", "dataset", 3)]),
        (
            of("/d/ds/train", "a.jpg", "b.jpg", "c.jpg")
            + of("/d/ds/val", "a.jpg", "b.jpg", "c.jpg")
            + of("/d/ds", "labels.csv"),
            [("/d/ds", "dataset", 7)],
        ),
        (
            of("/w/p/data", "a.jpg", "b.jpg", "c.jpg")
            + of("/w/p/ckpt-40", "1.pt", "2.pt", "3.pt", kind="model"),
            [("/w/p/ckpt-40", "checkpoint", 3), ("/w/p/data", "dataset", 3)],
        ),
        (
            of("/data/a", "1.bin", "2.bin", "3.bin") + of("/data/b", "1.bin", "2.bin", "3.bin"),
            [("/data/a", "dataset", 3), ("/data/b", "dataset", 3)],
        ),
        (
            of("/m/two", "model-00001-of-00002.bin", "model-00002-of-00002.bin", kind="model")
            + of("/m/two", "model.bin.index.json", kind="config"),
            [("/m/two", "checkpoint", 3)],
        ),
        (
            of("/m/base", "1.safetensors", "2.safetensors", "3.safetensors", kind="model")
            + of("/m/base", "config.json", kind="config")
            + of("/m/base", "code.py", kind="code"),
            [("/m/base", "checkpoint", 4)],
        ),
    ],
)
def test_which_files_make_a_tree(
    files: list[tuple[str, str]], expected: list[tuple[str, str, int]]
) -> None:
    found = [(each.folder, each.kind, len(each.files)) for each in shapes(files)]

    assert found == expected


@pytest.mark.parametrize(
    ("folder", "step"),
    [("/r/ckpt-4000", 4000), ("/r/global_step12", 12), ("/r/epoch_3/shards", 3), ("/r/data", None)],
)
def test_the_step_is_read_from_the_folder(folder: str, step: int | None) -> None:
    (shape,) = shapes(of(folder, "1.pt", "2.pt", "3.pt", kind="model"))

    assert shape.step == step


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "whence.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def asked(store: Store) -> Ancestry:
    return Ancestry(Machine(store, Deriver))


def register(store: Store, members: list[Member]) -> tree_store.Tree:
    return store.write(lambda writer: tree_store.register(writer, members, "dataset", 1)).result()


def count(store: Store, table: str) -> int:
    with store.cursor() as reader:
        return int(reader.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 -- our own names


def test_one_changed_member_stores_one_part(store: Store) -> None:
    first = register(store, MEMBERS)
    before = count(store, "tree_bucket")
    changed = [member("0000.bin", "other"), *MEMBERS[1:]]

    second = register(store, changed)
    again = register(store, list(reversed(changed)))

    in_bucket = sum(bucket_of(each.path) == bucket_of("0000.bin") for each in changed)
    assert first.digest == digest_of_tree(MEMBERS)
    assert (second.digest, again.tree_id) == (digest_of_tree(changed), second.tree_id)
    assert count(store, "tree_bucket") == before + 1
    assert count(store, "tree_member") == len(MEMBERS) + in_bucket


def test_a_member_is_found_by_content_and_by_path(store: Store) -> None:
    tree = register(store, MEMBERS)
    register(store, [member("x/0007.bin", "0007.bin"), *MEMBERS[100:]])
    with store.cursor() as reader:
        by_content = tree_store.containing(reader, MEMBERS[7].blake3)
        by_path = tree_store.member_at(reader, tree.tree_id, "0007.bin")
        none = tree_store.member_at(reader, tree.tree_id, "7.bin")

    assert set(by_content) == {(1, "0007.bin"), (2, "x/0007.bin")}
    assert by_path == (MEMBERS[7].blake3, 10)
    assert none is None


def shards(asked: Ancestry, number: int, first: int = 0) -> None:
    """Read shards of /d/shards as the newest process."""
    host = asked.host
    process = host.spawn(None, "python", "train.py", str(number))
    for shard in range(first, first + number):
        host.read(process, 100 + shard, f"/d/shards/{shard:04}.bin")
        host.digest(100 + shard, f"shard {shard}")
    host.write(process, 9_000 + number, "/d/model.pt")
    host.digest(9_000 + number, f"model {number} {first}")
    host.end(process)


def make_shards(asked: Ancestry, number: int) -> None:
    host = asked.host
    process = host.spawn(None, "python", "make_shards.py")
    for shard in range(number):
        host.write(process, 100 + shard, f"/d/shards/{shard:04}.bin")
        host.digest(100 + shard, f"shard {shard}")
    host.end(process)


def edges(asked: Ancestry, command: str) -> list[tuple[str, bool, int, int]]:
    detail = asked.ask("GetRun", query_pb2.GetRunRequest(run_id=asked.run_id(command)))
    return [(tree.path, tree.wrote, tree.members_touched, tree.members) for tree in detail.trees]


def test_shards_read_of_a_known_tree_are_one_edge_with_its_coverage(asked: Ancestry) -> None:
    make_shards(asked, 120)
    asked.settle()
    shards(asked, 120)
    shards(asked, 30, first=20)
    asked.settle()

    assert edges(asked, "python make_shards.py") == [("/d/shards", True, 120, 120)]
    assert edges(asked, "python train.py 120") == [("/d/shards", False, 120, 120)]
    assert edges(asked, "python train.py 30") == [("/d/shards", False, 30, 120)]
    assert count(asked.machine.store, "tree") == 1


def test_a_member_that_is_written_anew_makes_a_tree_of_its_own(asked: Ancestry) -> None:
    """All in one look: what one run wrote is known when the next is looked at."""
    make_shards(asked, 120)
    host = asked.host
    patch = host.spawn(None, "python", "patch.py")
    host.write(patch, 500, "/d/shards/0007.bin")
    host.digest(500, "shard 7, mended")
    host.end(patch)
    process = host.spawn(None, "python", "train.py")
    for shard in range(110):
        host.read(process, 500 if shard == 7 else 100 + shard, f"/d/shards/{shard:04}.bin")
    host.write(process, 9_000, "/d/model.pt")
    host.digest(9_000, "model")
    host.end(process)
    asked.settle()

    assert edges(asked, "python make_shards.py") == [("/d/shards", True, 120, 120)]
    assert edges(asked, "python patch.py") == [("/d/shards", True, 1, 120)]
    assert edges(asked, "python train.py") == [("/d/shards", False, 110, 120)]
    assert count(asked.machine.store, "tree") == 2


def test_a_large_tree_of_a_run_is_made_known_beforehand(
    asked: Ancestry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftermath, "REGISTERED_AT_ONCE", 50)
    make_shards(asked, 120)
    asked.settle()

    assert edges(asked, "python make_shards.py") == [("/d/shards", True, 120, 120)]


def test_a_part_of_a_dataset_read_from_a_folder_below_is_a_part_of_it(asked: Ancestry) -> None:
    host = asked.host
    maker = host.spawn(None, "python", "split.py")
    for number, name in enumerate(f"{part}/{n}.jpg" for part in ("train", "val") for n in range(5)):
        host.write(maker, 50 + number, f"/d/ds/{name}")
        host.digest(50 + number, f"picture {name}")
    host.end(maker)
    asked.settle()
    reader = host.spawn(None, "python", "fit.py")
    for number in range(5):
        host.read(reader, 50 + number, f"/d/ds/train/{number}.jpg")
    host.write(reader, 70, "/d/fit.pt")
    host.digest(70, "fit")
    host.end(reader)
    asked.settle()

    assert edges(asked, "python split.py") == [("/d/ds", True, 10, 10)]
    assert edges(asked, "python fit.py") == [("/d/ds", False, 5, 10)]


def test_a_run_waits_for_its_digests_and_then_goes_without(asked: Ancestry) -> None:
    host = asked.host
    process = host.spawn(None, "python", "late.py")
    for shard in range(4):
        host.write(process, 100 + shard, f"/d/late/{shard}.bin")
    for shard in range(3):
        host.digest(100 + shard, f"shard {shard}")
    host.end(process)
    asked.settle()
    waiting = edges(asked, "python late.py")
    asked.settle(after_s=700)

    assert waiting == []
    assert edges(asked, "python late.py") == [("/d/late", True, 3, 3)]


def test_a_tree_is_found_by_digest_path_and_member(asked: Ancestry) -> None:
    make_shards(asked, 120)
    shards(asked, 30)
    asked.settle()
    members = [Member(f"{n:04}.bin", blake3_of(f"shard {n}"), 1000) for n in range(120)]
    name = name_of(digest_of_tree(members))
    buckets = {number: bucket(each) for number, each in buckets_of(members[1:]).items()}

    by_digest = asked.about("FindTree", wire.FindTreeRequest(digest=name[:15]))
    by_path = asked.about(
        "FindTree",
        wire.FindTreeRequest(
            path="/d/shards",
            buckets=[
                wire.TreeBucket(number=number, digest=each.digest, members=each.members)
                for number, each in buckets.items()
            ],
        ),
    )
    by_member = asked.about("FindTree", wire.FindTreeRequest(member=members[3].blake3.hex()))

    assert [match.tree.digest for match in by_digest.matches] == [name]
    assert {use.run.command for use in by_digest.matches[0].uses} >= {"python make_shards.py"}
    (match,) = [each for each in by_path.matches if each.tree.digest == name]
    gone = sum(bucket_of(each.path) == bucket_of("0000.bin") for each in members)
    assert match.members_equal == 120 - gone
    assert list(by_member.matches[0].member_paths) == ["0003.bin"]


@pytest.mark.parametrize(
    ("request_of", "error"),
    [
        ({}, InvalidRequest),
        ({"digest": "tree:xyz"}, InvalidRequest),
        ({"digest": "tree:" + "0" * 64}, NotFound),
        ({"path": "/nowhere"}, NotFound),
        ({"member": "12"}, InvalidRequest),
    ],
)
def test_what_is_no_tree_is_said_so(
    asked: Ancestry, request_of: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        asked.about("FindTree", wire.FindTreeRequest(**request_of))


async def _stream(*messages: wire.TreeMembers) -> AsyncIterator[wire.TreeMembers]:
    for message in messages:
        yield message


def test_a_tree_is_registered_over_the_wire(asked: Ancestry) -> None:
    parts = [
        wire.TreeMembers(
            path=[each.path for each in part],
            blake3=[each.blake3 for each in part],
            size_bytes=[each.size_bytes for each in part],
        )
        for part in (MEMBERS[:100], MEMBERS[100:])
    ]

    tree = asyncio.run(asked.service.RegisterTree(_stream(*parts), None))

    assert tree.digest == name_of(digest_of_tree(MEMBERS))


@pytest.mark.parametrize(
    "message",
    [
        wire.TreeMembers(path=["../x"], blake3=[b"1" * 32], size_bytes=[1]),
        wire.TreeMembers(path=["/x"], blake3=[b"1" * 32], size_bytes=[1]),
        wire.TreeMembers(path=["x"], blake3=[b"1"], size_bytes=[1]),
        wire.TreeMembers(path=["x"], blake3=[b"1" * 32], size_bytes=[]),
        wire.TreeMembers(),
    ],
)
def test_a_malformed_tree_is_refused_and_leaves_nothing(
    asked: Ancestry, message: wire.TreeMembers
) -> None:
    with pytest.raises(InvalidRequest):
        asyncio.run(asked.service.RegisterTree(_stream(message), None))

    assert count(asked.machine.store, "tree_claim") == 0
