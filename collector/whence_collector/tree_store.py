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
    from collections.abc import Iterable, Mapping, Sequence

    from whence_collector.store import Reader, Writer

# Claims of trees that are coming in count: their members lie in the tables already.
HIGHEST = """
SELECT greatest(
    coalesce((SELECT max(bucket_id) FROM tree_bucket), 0),
    coalesce((SELECT max(first_id) + ? FROM tree_claim), 0)
)
"""
# Statements that follow each other: each touches the few rows that zone maps leave, which a join
# of them would not know beforehand.
BUCKETS_WITH = "SELECT DISTINCT bucket_id FROM tree_content WHERE content = ? LIMIT ?"
PATHS_OF = "SELECT path FROM tree_member WHERE bucket_id = ? AND blake3 = ?"
PART = "SELECT bucket_id FROM tree_part WHERE tree_id = ? AND bucket = ?"
MEMBER_AT = "SELECT blake3, size_bytes FROM tree_member WHERE bucket_id = ? AND path = ?"
MEMBERS_IN = "SELECT path, blake3, size_bytes FROM tree_member WHERE bucket_id = ?"


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
    """Make a small tree known and return it; one that is known already is returned as it is."""
    return _register(writer, buckets_of(members), {}, kind, now_ns)


def register_changed(
    writer: Writer, base: Tree, changes: Mapping[str, Member | None], kind: str, now_ns: int
) -> Tree:
    """Make a tree known that differs from another in some members; None: it is gone.

    Reads and hashes the buckets that hold them, whatever the size of the tree.
    """
    parts: dict[int, int] = dict(
        writer.rows("SELECT bucket, bucket_id FROM tree_part WHERE tree_id = ?", (base.tree_id,))
    )
    dealt: dict[int, dict[str, Member]] = {}
    for path, member in changes.items():
        number = bucket_of(path)
        if number not in dealt:
            rows = writer.rows(MEMBERS_IN, (parts.get(number, 0),))
            dealt[number] = {row[0]: Member(*row) for row in rows}
        dealt[number].pop(path, None)
        if member is not None:
            dealt[number][path] = member
    pieces = {number: list(members.values()) for number, members in dealt.items()}
    return _register(writer, pieces, parts, kind, now_ns)


def _register(
    writer: Writer,
    pieces: Mapping[int, list[Member]],
    parts: Mapping[int, int],
    kind: str,
    now_ns: int,
) -> Tree:
    """Store the buckets that are new, then the tree if it is new; parts are those of another."""
    made = {number: bucket(members) for number, members in pieces.items() if members}
    known = known_buckets(writer, made.values())
    ids = {number: bucket_id for number, bucket_id in parts.items() if number not in pieces}
    found = buckets_by_id(writer, ids)
    next_id = _highest(writer) + 1
    fresh: dict[int, int] = {}
    for number in sorted(made):
        bucket_id = known.get(made[number].digest)
        if bucket_id is None:
            bucket_id = fresh[number] = next_id
            next_id += 1
        ids[number] = bucket_id
    rows = [(fresh[number], member) for number in fresh for member in pieces[number]]
    store_buckets(writer, {fresh[number]: made[number] for number in fresh})
    store_members(writer, rows)
    contents = sorted((content_key(member.blake3), bucket_id) for bucket_id, member in rows)
    writer.append(
        "tree_content",
        {
            "content": np.array([content for content, _ in contents], np.uint64),
            "bucket_id": [bucket_id for _, bucket_id in contents],
        },
    )
    return store_tree(writer, found | made, ids, kind, now_ns)


def _highest(reader: Reader) -> int:
    return int(reader.rows(HIGHEST, (BUCKETS,))[0][0])


def claim(writer: Writer, name: str) -> int:
    """Set numbers of buckets aside for a tree that comes in; return the first of BUCKETS."""
    first_id = _highest(writer) + 1
    writer.append("tree_claim", {"claim": [name], "first_id": [first_id]})
    return first_id


def release(writer: Writer, name: str) -> None:
    """Give a claim back; what was stored under its numbers stays."""
    writer.execute("DELETE FROM tree_claim WHERE claim = ?", (name,))


def drop_claim(writer: Writer, name: str) -> None:
    """Give a claim back, with what was stored under its numbers."""
    for (first_id,) in writer.rows("SELECT first_id FROM tree_claim WHERE claim = ?", (name,)):
        for table in ("tree_member", "tree_content"):
            writer.execute(
                f"DELETE FROM {table} WHERE bucket_id >= ? AND bucket_id < ?",  # noqa: S608 -- ours
                (first_id, first_id + BUCKETS),
            )
    release(writer, name)


def drop_claims(writer: Writer) -> None:
    """Give all claims back, with what was stored under their numbers."""
    for (name,) in writer.rows("SELECT claim FROM tree_claim"):
        drop_claim(writer, name)


def known_buckets(reader: Reader, made: Iterable[Bucket]) -> dict[bytes, int]:
    """Return the bucket_id of those buckets that are stored, by digest."""
    rows = reader.rows(
        "SELECT digest, bucket_id FROM tree_bucket WHERE digest IN (SELECT unnest(?::BLOB[]))",
        ([each.digest for each in made],),
    )
    return dict(rows)


def buckets_by_id(reader: Reader, ids: Mapping[int, int]) -> dict[int, Bucket]:
    """Return stored buckets by number; ids holds the bucket_id of each number."""
    select = "SELECT bucket_id, digest, members, size_bytes FROM tree_bucket"
    stored = {
        row[0]: Bucket(*row[1:]) for row in where_in(reader, select, "bucket_id", set(ids.values()))
    }
    return {number: stored[bucket_id] for number, bucket_id in ids.items()}


def store_buckets(writer: Writer, made: Mapping[int, Bucket]) -> None:
    """Store buckets by bucket_id."""
    writer.append(
        "tree_bucket",
        {
            "bucket_id": list(made),
            "digest": [each.digest for each in made.values()],
            "members": [each.members for each in made.values()],
            "size_bytes": [each.size_bytes for each in made.values()],
        },
    )


def store_members(writer: Writer, rows: Sequence[tuple[int, Member]]) -> None:
    """Store members, each with its bucket_id; in the order of these."""
    writer.append(
        "tree_member",
        {
            "bucket_id": [bucket_id for bucket_id, _ in rows],
            "path": [member.path for _, member in rows],
            "blake3": [member.blake3 for _, member in rows],
            "size_bytes": [member.size_bytes for _, member in rows],
        },
    )


def store_tree(
    writer: Writer, found: Mapping[int, Bucket], ids: Mapping[int, int], kind: str, now_ns: int
) -> Tree:
    """Store a tree whose buckets are stored, by number, unless it is known."""
    digest = root(found)
    known = by_digest(writer, digest.hex())
    if known:
        return known[0]
    tree_id = int(writer.rows("SELECT coalesce(max(tree_id), 0) FROM tree")[0][0]) + 1
    members = sum(each.members for each in found.values())
    size_bytes = sum(each.size_bytes for each in found.values())
    tree = Tree(tree_id, digest, kind, members, size_bytes, now_ns)
    writer.append("tree", {name: [getattr(tree, name)] for name in Tree.__slots__})
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
    found: list[tuple[int, str]] = []
    names: dict[int, list[str]] = {}
    for (bucket_id,) in reader.rows(BUCKETS_WITH, (content_key(blake3), limit)):
        names[bucket_id] = [path for (path,) in reader.rows(PATHS_OF, (bucket_id, blake3))]
    for tree_id, bucket_id in sorted(
        where_in(reader, "SELECT tree_id, bucket_id FROM tree_part", "bucket_id", list(names))
    ):
        found += ((tree_id, path) for path in names[bucket_id])
    return found[:limit]


def member_at(reader: Reader, tree_id: int, path: str) -> tuple[bytes, int] | None:
    """Return digest and size of the member at a path of a tree."""
    for (bucket_id,) in reader.rows(PART, (tree_id, bucket_of(path))):
        for blake3, size_bytes in reader.rows(MEMBER_AT, (bucket_id, path)):
            return blake3, size_bytes
    return None


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
