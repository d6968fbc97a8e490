"""Trees that one run read or wrote: found among its files, matched with known ones, stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whence_collector import tree_store
from whence_collector.tree_shapes import Shape, shapes
from whence_proto.tree_digest import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.answer_rows import File
    from whence_collector.run_material import Worked
    from whence_collector.store import Reader, Writer
    from whence_collector.tree_store import Tree

SAMPLE = 2_000  # members that a known tree is compared by
CANDIDATES = 50
CHANGES = 2_000  # files of one run that are looked for in trees that it may have changed
# The trees that were seen last in some folders of a run's host, before it ended.
STOOD_AT = """
SELECT u.path, arg_max(u.tree_id, u.last_ns) FROM run_tree u JOIN run r USING (run_id)
WHERE u.path IN (SELECT unnest(?1::VARCHAR[])) AND u.run_id <> ?2 AND u.last_ns <= ?3
    AND r.host_id = (SELECT host_id FROM run WHERE run_id = ?2)
GROUP BY u.path
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A tree of one side of a run; known where an earlier one holds all of these members."""

    folder: str
    kind: str
    wrote: bool
    members: tuple[Member, ...]
    bytes: int
    first_ns: int
    last_ns: int
    step: int | None
    known: int | None = None  # tree_id
    base: Tree | None = None  # of which the members are the changed ones


def find(reader: Reader, worked: Worked) -> list[Found]:
    """Return the trees among what a run itself read and wrote."""
    found = []
    for files, wrote in ((worked.own_inputs, False), (worked.own_outputs, True)):
        kept = _one_a_path(files, newest=wrote)
        alone = set(range(len(kept)))
        for shape in shapes([(file.path, file.file_class) for file in kept]):
            tree = _of_shape(shape, kept, wrote=wrote)
            if len(tree.members) > 1:
                found.append(tree if wrote else _as_known(reader, tree))
                alone.difference_update(shape.files)
        if wrote:
            found += _changed(reader, worked, [kept[number] for number in sorted(alone)])
    return found


def _changed(reader: Reader, worked: Worked, files: Sequence[File]) -> list[Found]:
    """Return known trees of which the run wrote some members anew, as they are since."""
    above = {file.path: _folders(file.path) for file in files[:CHANGES]}
    folders = list(dict.fromkeys(folder for each in above.values() for folder in each))
    stood = (folders, worked.run_id, worked.ended_ns)
    at: dict[str, int] = dict(reader.rows(STOOD_AT, stood) if folders else ())
    trees = tree_store.by_ids(reader, at.values())
    written: dict[str, list[File]] = {}
    for file in files[:CHANGES]:
        folder = next((each for each in above[file.path] if each in at), None)
        if folder and _is_other(reader, at[folder], folder, file):
            written.setdefault(folder, []).append(file)
    found = []
    for folder, mine in written.items():
        base = trees[at[folder]]
        shape = Shape(folder, base.kind, tuple(range(len(mine))), None)
        found.append(replace(_of_shape(shape, mine, wrote=True), base=base))
    return found


def _folders(path: str) -> list[str]:
    """Return the folders above a path, nearest first."""
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(len(parts) - 1, 1, -1)]


def _is_other(reader: Reader, tree_id: int, folder: str, file: File) -> bool:
    """Whether the tree has a member of that name with other bytes."""
    held = tree_store.member_at(reader, tree_id, file.path[len(folder) + 1 :])
    return held is not None and f"blake3:{held[0].hex()}" != file.digest


def _one_a_path(files: Sequence[File], *, newest: bool) -> list[File]:
    """Keep of each name what was read first, or what was written last; what is gone is no part."""
    ordered = files if newest else list(reversed(files))
    # A publisher's SHA-256 alone cannot be a member: a tree is made of BLAKE3.
    once = {
        file.path: file
        for file in ordered
        if (file.digest or "").startswith("blake3:") and not file.deleted
    }
    return list(once.values())


def _of_shape(shape: Shape, files: Sequence[File], *, wrote: bool) -> Found:
    mine = [files[number] for number in shape.files]
    members = tuple(
        Member(
            file.path[len(shape.folder) + 1 :],
            bytes.fromhex((file.digest or "").removeprefix("blake3:")),
            file.content.size_bytes,
        )
        for file in mine
        if file.content is not None
    )
    return Found(
        folder=shape.folder,
        kind=shape.kind,
        wrote=wrote,
        members=members,
        bytes=sum(file.bytes for file in mine),
        first_ns=min((file.first_ns for file in mine), default=0),
        last_ns=max((file.last_ns for file in mine), default=0),
        step=shape.step,
    )


def _as_known(reader: Reader, tree: Found) -> Found:
    """Take what was read as a part of the smallest known tree that holds all of it.

    A run that reads train/ of a dataset reads a part of that dataset, not one of its own.
    """
    first = tree.members[0]
    best: tuple[int, int, str] | None = None
    prefixes: dict[str, list[int]] = {}
    for tree_id, path in tree_store.containing(reader, first.blake3, CANDIDATES):
        if path == first.path or path.endswith("/" + first.path):
            prefixes.setdefault(path[: len(path) - len(first.path)], []).append(tree_id)
    sample = tree.members[:SAMPLE]
    for prefix, tree_ids in prefixes.items():
        placed = [member._replace(path=prefix + member.path) for member in sample]
        held = tree_store.holding(reader, placed, tree_ids)
        whole = [tree_id for tree_id, count in held.items() if count == len(sample)]
        for each in tree_store.by_ids(reader, whole).values():
            rank = (each.members, each.tree_id, prefix)
            if each.members >= len(tree.members) and (best is None or rank < best):
                best = rank
    if best is None:
        return tree
    _, tree_id, prefix = best
    folder = tree.folder.removesuffix("/" + prefix.rstrip("/")) if prefix else tree.folder
    return replace(tree, folder=folder, known=tree_id)


def _register(writer: Writer, found: Found, now_ns: int) -> Tree:
    if found.base is None:
        return tree_store.register(writer, found.members, found.kind, now_ns)
    changes = {member.path: member for member in found.members}
    return tree_store.register_changed(writer, found.base, changes, found.kind, now_ns)


def store(writer: Writer, worked: Worked, found: Sequence[Found], now_ns: int) -> None:
    """Store the trees of a run, and that it read or wrote them."""
    ids = [each.known or _register(writer, each, now_ns).tree_id for each in found]
    writer.append(
        "run_tree",
        {
            "run_id": [worked.run_id] * len(found),
            "tree_id": ids,
            "path": [each.folder for each in found],
            "wrote": [each.wrote for each in found],
            "members_touched": [len(each.members) for each in found],
            "bytes": [each.bytes for each in found],
            "first_ns": [each.first_ns for each in found],
            "last_ns": [each.last_ns for each in found],
            "step": [each.step for each in found],
        },
    )
