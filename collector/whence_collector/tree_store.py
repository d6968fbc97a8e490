"""Trees in the database: making one known, finding one by digest, member or place.

Parts that are stored already are shared, so a tree with one changed member costs one part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence_collector.lookups import where_in
from whence_proto.tree_digest import BUCKETS, Bucket, Member, bucket, bucket_of, buckets_of, root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from whence_collector.store import Reader, Writer

STAGE_BUCKETS = 64  # parts that are worked out at a time: of ten million members, 160,000
STAGED = """
SELECT bucket, path, blake3, size_bytes FROM tree_stage
WHERE stage = ? AND bucket BETWEEN ? AND ? ORDER BY bucket
"""
# Only parts that were new in this registration lie beyond the id.
NEW_CONTENTS = """
INSERT INTO tree_content
SELECT ('0x' || hex(blake3[1:8]))::UBIGINT AS content, bucket_id
FROM tree_member WHERE bucket_id > ? ORDER BY content
"""
CONTAINING = """
SELECT DISTINCT p.tree_id, m.path
FROM tree_content c
JOIN tree_member m ON m.bucket_id = c.bucket_id AND m.blake3 = ?2
JOIN tree_part p ON p.bucket_id = c.bucket_id
WHERE c.content = ?1 LIMIT ?3
"""
MEMBER_AT = """
SELECT m.blake3, m.size_bytes FROM tree_part p JOIN tree_member m USING (bucket_id)
WHERE p.tree_id = ? AND p.bucket = ? AND m.path = ?
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree as it is stored."""

    tree_id: int
    digest: bytes
    kind: str
    members: int
    size_bytes: int
    first_seen_ns: int


TREES = "SELECT tree_id, digest, kind, members, size_bytes, first_seen_ns FROM tree"


def register(writer: Writer, members: Iterable[Member], kind: str, now_ns: int) -> Tree:
    """Make a tree known and return it; one that is known already is returned as it is."""
    return _register(writer, [buckets_of(members)], kind, now_ns)


def stage(writer: Writer, name: str, members: Sequence[Member]) -> None:
    """Put members of a tree aside that comes in pieces; finish() makes it known."""
    writer.append(
        "tree_stage",
        {
            "stage": [name] * len(members),
            "bucket": [bucket_of(member.path) for member in members],
            "path": [member.path for member in members],
            "blake3": [member.blake3 for member in members],
            "size_bytes": [member.size_bytes for member in members],
        },
    )


def finish(writer: Writer, name: str, kind: str, now_ns: int) -> Tree:
    """Make the tree known whose members were put aside under a name."""
    tree = _register(writer, _staged(writer, name), kind, now_ns)
    drop_stage(writer, name)
    return tree


def drop_stage(writer: Writer, name: str) -> None:
    """Forget what was put aside under a name."""
    writer.execute("DELETE FROM tree_stage WHERE stage = ?", (name,))


def _staged(reader: Reader, name: str) -> Iterator[dict[int, list[Member]]]:
    for low in range(0, BUCKETS, STAGE_BUCKETS):
        dealt: dict[int, list[Member]] = {}
        for number, *member in reader.rows(STAGED, (name, low, low + STAGE_BUCKETS - 1)):
            dealt.setdefault(number, []).append(Member(*member))
        if dealt:
            yield dealt


def _register(
    writer: Writer, pieces: Iterable[dict[int, list[Member]]], kind: str, now_ns: int
) -> Tree:
    """Store the parts that are new, piece by piece, then the tree if it is new."""
    highest = int(writer.rows("SELECT coalesce(max(bucket_id), 0) FROM tree_bucket")[0][0])
    next_id = highest + 1
    found: dict[int, Bucket] = {}
    ids: dict[int, int] = {}
    for piece in pieces:
        made = {number: bucket(members) for number, members in piece.items()}
        known = _known_buckets(writer, made)
        fresh: dict[int, int] = {}
        for number in sorted(made):
            if made[number].digest not in known:
                known[made[number].digest] = fresh[number] = next_id
                next_id += 1
        _store_buckets(writer, made, fresh)
        _store_members(writer, piece, fresh)
        found |= made
        ids |= {number: known[each.digest] for number, each in made.items()}
    if next_id > highest + 1:
        writer.execute(NEW_CONTENTS, (highest,))
    return _store_tree(writer, found, ids, kind, now_ns)


def _known_buckets(reader: Reader, made: Mapping[int, Bucket]) -> dict[bytes, int]:
    digests = [each.digest for each in made.values()]
    rows = reader.rows(
        "SELECT digest, bucket_id FROM tree_bucket WHERE digest IN (SELECT unnest(?::BLOB[]))",
        (digests,),
    )
    return dict(rows)


def _store_buckets(writer: Writer, made: Mapping[int, Bucket], fresh: Mapping[int, int]) -> None:
    writer.append(
        "tree_bucket",
        {
            "bucket_id": list(fresh.values()),
            "digest": [made[number].digest for number in fresh],
            "members": [made[number].members for number in fresh],
            "size_bytes": [made[number].size_bytes for number in fresh],
        },
    )


def _store_members(
    writer: Writer, piece: Mapping[int, list[Member]], fresh: Mapping[int, int]
) -> None:
    rows = [(bucket_id, member) for number, bucket_id in fresh.items() for member in piece[number]]
    writer.append(
        "tree_member",
        {
            "bucket_id": [bucket_id for bucket_id, _ in rows],
            "path": [member.path for _, member in rows],
            "blake3": [member.blake3 for _, member in rows],
            "size_bytes": [member.size_bytes for _, member in rows],
        },
    )


def _store_tree(
    writer: Writer, found: Mapping[int, Bucket], ids: Mapping[int, int], kind: str, now_ns: int
) -> Tree:
    digest = root(found)
    known = by_digest(writer, digest.hex())
    if known:
        return known[0]
    tree_id = int(writer.rows("SELECT coalesce(max(tree_id), 0) FROM tree")[0][0]) + 1
    members = sum(each.members for each in found.values())
    size_bytes = sum(each.size_bytes for each in found.values())
    tree = Tree(tree_id, digest, kind, members, size_bytes, now_ns)
    writer.append(
        "tree",
        {name: [getattr(tree, name)] for name in Tree.__slots__},
    )
    numbers = sorted(ids)
    writer.append(
        "tree_part",
        {
            "tree_id": [tree_id] * len(numbers),
            "bucket": numbers,
            "bucket_id": [ids[number] for number in numbers],
        },
    )
    return tree


def by_digest(reader: Reader, digits: str, limit: int = 20) -> list[Tree]:
    """Return the trees whose digest begins so, in hexadecimal."""
    low, high = (bytes.fromhex(digits.ljust(64, digit)[:64]) for digit in "0f")
    rows = reader.rows(f"{TREES} WHERE digest BETWEEN ? AND ? LIMIT ?", (low, high, limit))
    return [Tree(*row) for row in rows]


def by_ids(reader: Reader, tree_ids: Iterable[int]) -> dict[int, Tree]:
    """Return trees by id."""
    return {row[0]: Tree(*row) for row in where_in(reader, TREES, "tree_id", set(tree_ids))}


def content_key(blake3: bytes) -> int:
    """Return the number that a content has in tree_content."""
    return int.from_bytes(blake3[:8], "big")


def containing(reader: Reader, blake3: bytes, limit: int = 100) -> list[tuple[int, str]]:
    """Return (tree_id, path in it) of the trees that have a content as a member."""
    return reader.rows(CONTAINING, (content_key(blake3), blake3, limit))


def member_at(reader: Reader, tree_id: int, path: str) -> tuple[bytes, int] | None:
    """Return digest and size of the member at a path of a tree."""
    rows = reader.rows(MEMBER_AT, (tree_id, bucket_of(path), path))
    return rows[0] if rows else None


def parts_of(reader: Reader, tree_id: int) -> dict[int, Bucket]:
    """Return the buckets of a tree by number."""
    rows = reader.rows(
        "SELECT p.bucket, b.digest, b.members, b.size_bytes "
        "FROM tree_part p JOIN tree_bucket b USING (bucket_id) WHERE p.tree_id = ?",
        (tree_id,),
    )
    return {number: Bucket(*rest) for number, *rest in rows}


def contents_of(reader: Reader, tree_id: int) -> list[int]:
    """Return the artifact_id of every member that was ever seen."""
    found = reader.arrays(
        "SELECT DISTINCT a.artifact_id FROM tree_part p JOIN tree_member m USING (bucket_id) "
        "JOIN artifact a ON a.blake3 = m.blake3 WHERE p.tree_id = ?",
        (tree_id,),
    )
    ids: list[int] = np.sort(found["artifact_id"]).tolist()
    return ids


def holding(reader: Reader, members: Sequence[Member], candidates: Iterable[int]) -> dict[int, int]:
    """Return how many of the members each candidate tree holds at the same paths."""
    ids = list(candidates)
    if not ids or not members:
        return {}
    rows = reader.rows(
        "SELECT p.tree_id, count(*) FROM ("
        "SELECT unnest(?1::INTEGER[]) AS bucket, unnest(?2::VARCHAR[]) AS path, "
        "unnest(?3::BLOB[]) AS blake3) w "
        "JOIN tree_part p ON p.bucket = w.bucket "
        "JOIN tree_member m ON m.bucket_id = p.bucket_id AND m.path = w.path "
        "AND m.blake3 = w.blake3 "
        "WHERE p.tree_id IN (SELECT unnest(?4::INTEGER[])) GROUP BY p.tree_id",
        (
            [bucket_of(member.path) for member in members],
            [member.path for member in members],
            [member.blake3 for member in members],
            ids,
        ),
    )
    return dict(rows)
