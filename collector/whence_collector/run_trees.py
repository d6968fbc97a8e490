"""Trees that one run read or wrote: found among its files, matched with known ones, stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import tree_store
from whence_collector.tree_shapes import LEAST_MEMBERS, Shape, shapes
from whence_proto.tree_digest import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.answer_rows import File
    from whence_collector.run_material import Worked
    from whence_collector.store import Reader, Writer

SAMPLE = 2_000  # members that a known tree is compared by
CANDIDATES = 50


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
    known: int | None = None


def find(reader: Reader, worked: Worked) -> list[Found]:
    """Return the trees among what a run itself read and wrote."""
    found = []
    for files, wrote in ((worked.own_inputs, False), (worked.own_outputs, True)):
        kept = _one_a_path(files, newest=wrote)
        for shape in shapes([(file.path, file.file_class) for file in kept]):
            tree = _of_shape(shape, kept, wrote)
            if len(tree.members) >= LEAST_MEMBERS:
                found.append(tree if wrote else _as_known(reader, tree))
    return found


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


def _of_shape(shape: Shape, files: Sequence[File], wrote: bool) -> Found:
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
    return Found(
        folder=folder,
        kind=tree.kind,
        wrote=False,
        members=tree.members,
        bytes=tree.bytes,
        first_ns=tree.first_ns,
        last_ns=tree.last_ns,
        step=tree.step,
        known=tree_id,
    )


def store(writer: Writer, worked: Worked, found: Sequence[Found], now_ns: int) -> None:
    """Store the trees of a run, and that it read or wrote them."""
    ids = [
        each.known or tree_store.register(writer, each.members, each.kind, now_ns).tree_id
        for each in found
    ]
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
