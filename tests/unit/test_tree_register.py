"""Trees that come in piece by piece, and trees that differ from another in some members."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.test_trees import MEMBERS, count, digest_of_tree, member, register, store

from whence_collector import tree_store
from whence_collector.errors import InvalidRequest
from whence_collector.store import Store
from whence_collector.tree_register import Registration, clear
from whence_proto.tree_digest import Member, bucket_of

__all__ = ["store"]  # a fixture


def register_in_pieces(store: Store, *parts: list[Member]) -> tree_store.Tree:
    coming = Registration(store)
    for part in parts:
        coming.add(part)
    return coming.finish("dataset", 1)


def test_a_tree_that_comes_in_pieces_is_the_same_tree(store: Store, tmp_path: Path) -> None:
    tree = register_in_pieces(store, MEMBERS[200:], MEMBERS[:200])
    with store.cursor() as reader:
        by_content = tree_store.containing(reader, MEMBERS[7].blake3)
        by_path = tree_store.member_at(reader, tree.tree_id, "0250.bin")

    assert (tree.digest, tree.members) == (digest_of_tree(MEMBERS), len(MEMBERS))
    assert register(store, MEMBERS) == tree
    assert by_content == [(tree.tree_id, "0007.bin")]
    assert by_path == (MEMBERS[250].blake3, 10)
    assert (count(store, "tree_claim"), list((tmp_path / "trees").iterdir())) == (0, [])


def test_pieces_of_a_tree_that_is_known_but_for_one_member_add_one_part(store: Store) -> None:
    register_in_pieces(store, MEMBERS)
    before = count(store, "tree_member")
    changed = [member("0000.bin", "other"), *MEMBERS[1:]]

    tree = register_in_pieces(store, changed)

    in_bucket = sum(bucket_of(each.path) == bucket_of("0000.bin") for each in changed)
    assert tree.digest == digest_of_tree(changed)
    assert count(store, "tree_member") == before + in_bucket == count(store, "tree_content")


def test_a_tree_is_known_only_when_all_of_it_is(store: Store, tmp_path: Path) -> None:
    """A collector that dies meanwhile leaves nothing that answers, and the next one cleans up."""
    coming = Registration(store)
    coming.add(MEMBERS)
    coming._store_parts()
    with store.cursor() as reader:
        unknown = tree_store.containing(reader, MEMBERS[7].blake3)
    small = register(store, MEMBERS[:3])

    clear(store).result()

    assert unknown == []
    assert small.digest == digest_of_tree(MEMBERS[:3])
    assert count(store, "tree_member") == count(store, "tree_content") == 3
    assert (count(store, "tree_claim"), list((tmp_path / "trees").iterdir())) == (0, [])


def test_a_member_that_comes_twice_is_refused(store: Store) -> None:
    coming = Registration(store)
    coming.add([*MEMBERS, MEMBERS[5]._replace(size_bytes=3)])

    with pytest.raises(InvalidRequest, match=r"0005\.bin' came twice"):
        coming.finish("dataset", 1)
    coming.drop().result()
    assert count(store, "tree_member") == 0


CHANGES = st.dictionaries(
    st.sampled_from([f"{n:04}.bin" for n in range(0, 320, 7)]), st.none() | st.integers(0, 3)
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_changed_tree_is_what_its_members_make(
    store: Store, changes: dict[str, int | None]
) -> None:
    base = register(store, MEMBERS)
    made = {
        path: None if content is None else member(path, str(content))
        for path, content in changes.items()
    }
    left: dict[str, Member | None] = {each.path: each for each in MEMBERS}
    members = [each for each in (left | made).values() if each is not None]

    changed = store.write(
        lambda writer: tree_store.register_changed(writer, base, made, "dataset", 1)
    ).result()

    assert changed.digest == digest_of_tree(members)
    assert changed.members == len(members)
