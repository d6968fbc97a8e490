"""What was seen of one workload: rows of the wire, and the edges that they say. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from whence_proto.v1 import ingest_pb2 as wire
from whenced.event import FileKey
from whenced.rows import AccessRow, NameRow, Row

R = TypeVar("R", bound=Row)
_OPS: dict[int, str] = {
    wire.ACCESS_OP_READ: "read",
    wire.ACCESS_OP_WRITE: "write",
    wire.ACCESS_OP_EXECUTE: "execute",
    wire.ACCESS_OP_MAP: "map",
    wire.ACCESS_OP_TRUNCATE: "truncate",
}
_CHANGES: dict[int, str] = {
    wire.NAME_CHANGE_RENAME: "rename",
    wire.NAME_CHANGE_LINK: "link",
    wire.NAME_CHANGE_DELETE: "delete",
    wire.NAME_CHANGE_EXCHANGE: "exchange",
}


@dataclass(frozen=True, slots=True)
class Use:
    """All accesses of one kind to one name, added up; ``flags`` are the wire's."""

    ops: int
    bytes: int
    flags: int
    versions: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one workload that ran in ``place``."""

    place: Path
    rows: Sequence[Row]
    output: str = ""

    def of(self, kind: type[R]) -> list[R]:
        """Return the rows of one class."""
        return [row for row in self.rows if isinstance(row, kind)]

    def edges(self, tgid: int | None = None) -> list[str]:
        """Return "op name" and "change old -> new" below the place, sorted.

        Accesses of one kind to one name are one edge, whatever their versions;
        name changes are told as often as they arrived. "may-write" is a shared mapping that
        nobody was seen to store to. ``tgid`` limits to one process.
        """
        accesses = {self._access(row) for row in self._by(self.of(AccessRow), tgid)}
        accesses -= {f"may-{edge}" for edge in accesses if edge and edge.startswith("write ")}
        changes = [self._change(row) for row in self._by(self.of(NameRow), tgid)]
        return sorted(edge for edge in [*accesses, *changes] if edge)

    def use(self, op: str, name: str) -> Use:
        """Add up the accesses of one kind to one name below the place."""
        wanted = f"{op} {name}"
        rows = [row for row in self.of(AccessRow) if self._access(row) == wanted]
        flags = 0
        for row in rows:
            flags |= row.flags
        return Use(
            sum(row.ops for row in rows),
            sum(row.bytes for row in rows),
            flags,
            len({row.file for row in rows}),
        )

    def identity(self, edge: str) -> FileKey | None:
        """Identity of the file of an access edge, None when there is no such edge."""
        files = [row.file for row in self.of(AccessRow) if self._access(row) == edge]
        return FileKey(*files[0][:3]) if files else None

    def users(self) -> dict[str, set[int]]:
        """Return the process ids behind each access edge below the place."""
        found: dict[str, set[int]] = defaultdict(set)
        for row in self.of(AccessRow):
            if edge := self._access(row):
                found[edge].add(row.process.tgid)
        return dict(found)

    def _by(self, rows: Iterable[R], tgid: int | None) -> Iterator[R]:
        return (
            row
            for row in rows
            if isinstance(row, AccessRow | NameRow) and tgid in (None, row.process.tgid)
        )

    def _access(self, row: Row) -> str | None:
        if not isinstance(row, AccessRow):
            return None
        name = self._name(row.path)
        op = "may-write" if row.flags & wire.ACCESS_FLAG_MAY_WRITE else _OPS[row.op]
        return None if name is None else f"{op} {name}"

    def _change(self, row: Row) -> str | None:
        if not isinstance(row, NameRow):
            return None
        old, new = self._name(row.path), self._name(row.new_path)
        if old is None and new is None:
            return None
        folder = "/" if row.directory else ""
        target = f" -> {new or row.new_path}{folder}" if row.new_path is not None else ""
        return f"{_CHANGES[row.change]} {old or row.path}{folder}{target}"

    def _name(self, path: str | None) -> str | None:
        """Name relative to the place; None for what lies elsewhere."""
        prefix = f"{self.place}/"
        return path.removeprefix(prefix) if path is not None and path.startswith(prefix) else None


# Runs one behaviour of a workload, (program, behaviour, words…), in the test's place.
Run = Callable[..., Seen]
