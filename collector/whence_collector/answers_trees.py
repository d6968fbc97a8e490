"""The answer to FindTree: trees by digest, folder or member, and the runs that used them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import tree_store
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.lookups import where_in
from whence_proto.tree_digest import name_of
from whence_proto.v1 import ancestry_pb2 as wire
from whence_proto.v1 import query_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whence_collector.store import Reader
    from whence_collector.tree_store import Tree

USES_LISTED = 50
MATCHES = 20
MEMBERS_LISTED = 20
USES = """
SELECT run_id, path, wrote, members_touched, bytes, first_ns, last_ns, step FROM run_tree
WHERE tree_id = ? ORDER BY last_ns DESC LIMIT ?
"""
AT_PATH = """
SELECT u.tree_id, max(u.last_ns) AS last_ns FROM run_tree u
JOIN run r ON r.run_id = u.run_id JOIN host h ON h.host_id = r.host_id
WHERE u.path = ?1 AND (?2 IS NULL OR h.name = ?2)
GROUP BY u.tree_id ORDER BY last_ns DESC LIMIT ?3
"""
OF_RUNS = "SELECT run_id, tree_id, path, wrote, members_touched, bytes FROM run_tree"


def find_tree(reader: Reader, request: wire.FindTreeRequest) -> wire.FindTreeReply:
    """Answer FindTree; raises InvalidRequest, and NotFound where no tree answers."""
    if not (request.digest or request.path or request.member):
        raise InvalidRequest("FindTree needs a digest, a folder or a member; give one of them")
    found = _found(reader, request)
    if not found:
        raise NotFound("no run was seen to read or write such a tree")
    trees = tree_store.by_ids(reader, found)
    reply = wire.FindTreeReply()
    for tree_id, names in list(found.items())[:MATCHES]:
        match = reply.matches.add(
            tree=tree_message(trees[tree_id]), member_paths=names[:MEMBERS_LISTED]
        )
        match.uses.extend(_uses(reader, trees[tree_id]))
        if request.buckets:
            match.members_equal = _equal(reader, tree_id, request.buckets)
    return reply


def _found(reader: Reader, request: wire.FindTreeRequest) -> dict[int, list[str]]:
    """Return the trees that a request means by id, each with the names of the asked member."""
    found: dict[int, list[str]] = {}
    if request.digest:
        for tree in tree_store.by_digest(reader, _digits(request.digest), MATCHES):
            found.setdefault(tree.tree_id, [])
    if request.path:
        for tree_id, _ in reader.rows(AT_PATH, (request.path, request.host or None, MATCHES)):
            found.setdefault(tree_id, [])
    if request.member:
        digits = request.member.removeprefix("blake3:").lower()
        if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
            raise InvalidRequest(f"{request.member!r} is no whole digest; write all 64 digits")
        for tree_id, path in tree_store.containing(reader, bytes.fromhex(digits)):
            found.setdefault(tree_id, []).append(path)
    return found


def _digits(text: str) -> str:
    digits = text.removeprefix("tree:").lower()
    if not 6 <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise InvalidRequest(f"{text!r} is no tree; write tree: and 6 to 64 hexadecimal digits")
    return digits


def _equal(reader: Reader, tree_id: int, buckets: Iterable[wire.TreeBucket]) -> int:
    known = tree_store.parts_of(reader, tree_id)
    return sum(
        known[each.number].members
        for each in buckets
        if each.number in known and known[each.number].digest == each.digest
    )


def tree_message(tree: Tree) -> wire.Tree:
    """Return a tree as a message."""
    return wire.Tree(
        digest=name_of(tree.digest),
        kind=tree.kind,
        members=tree.members,
        size_bytes=tree.size_bytes,
        first_seen_unix_ns=tree.first_seen_ns,
    )


def _uses(reader: Reader, tree: Tree) -> list[wire.TreeUse]:
    found = reader.rows(USES, (tree.tree_id, USES_LISTED))
    runs = rows.run_summaries(reader, {row[0] for row in found})
    return [
        wire.TreeUse(
            tree=tree_message(tree),
            run=runs[run_id],
            path=path,
            wrote=wrote,
            members_touched=touched,
            bytes=moved,
            first_unix_ns=first_ns,
            last_unix_ns=last_ns,
            step=step,
        )
        for run_id, path, wrote, touched, moved, first_ns, last_ns, step in found
        if run_id in runs
    ]


def tree_edges(reader: Reader, run_ids: Iterable[str]) -> dict[str, list[query_pb2.TreeEdge]]:
    """Return the trees that runs read or wrote, by run."""
    found = where_in(reader, OF_RUNS, "run_id", list(run_ids))
    trees = tree_store.by_ids(reader, {row[1] for row in found}) if found else {}
    edges: dict[str, list[query_pb2.TreeEdge]] = {}
    for run_id, tree_id, path, wrote, touched, moved in sorted(found, key=lambda row: row[2]):
        tree = trees[tree_id]
        edges.setdefault(run_id, []).append(
            query_pb2.TreeEdge(
                path=path,
                digest=name_of(tree.digest),
                kind=tree.kind,
                wrote=wrote,
                members=tree.members,
                members_touched=touched,
                bytes=moved,
            )
        )
    return edges
