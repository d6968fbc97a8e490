"""Making a tree of any size known, in short transactions: batches of daemons go in between.

Until the last one the tree does not exist: its parts lie under numbers that are claimed for it, and
go away with the claim where the stream breaks off or the collector dies.
"""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from whence_collector import tree_store
from whence_collector.errors import InvalidRequest, StorageUnavailable
from whence_collector.tree_pieces import Pieces, remove
from whence_proto.tree_digest import BUCKETS, Bucket, bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from whence_collector.store import Store, Writer
    from whence_collector.tree_store import Tree
    from whence_proto.tree_digest import Member

FOLDER = "trees"  # beside the database


class Registration:
    """One tree on its way in. Blocks: not for the event loop. One thread at a time."""

    def __init__(self, store: Store) -> None:
        """Begin. Raises StorageUnavailable."""
        self._store = store
        self._name = secrets.token_hex(16)
        with _disk(store):
            self._pieces = Pieces(folder_of(store) / self._name)
        self._first_id = 0
        self._fresh = 0
        self._found: dict[int, Bucket] = {}
        self._ids: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Members so far."""
        return self._pieces.count

    def add(self, members: Iterable[Member]) -> None:
        """Take in members, in any order. Raises StorageUnavailable."""
        with _disk(self._store):
            self._pieces.add(members)

    def finish(self, kind: str, now_ns: int) -> Tree:
        """Make the tree known. Raises StorageUnavailable, and InvalidRequest for twins."""
        write = self._store.write
        with _disk(self._store):
            self._store_parts()
        return write(lambda writer: self._make_known(writer, kind, now_ns)).result()

    def _store_parts(self) -> None:
        write = self._store.write
        self._first_id = write(lambda writer: tree_store.claim(writer, self._name)).result()
        for piece in self._pieces.by_bucket():
            write(lambda writer, part=piece: self._store_piece(writer, part)).result()  # type: ignore[misc]
        for entries in self._pieces.by_content():
            columns = {name: entries[name] for name in ("content", "bucket_id")}
            write(lambda writer, part=columns: writer.append("tree_content", part)).result()  # type: ignore[misc]
        self._pieces.drop()

    def drop(self) -> Future[None]:
        """Leave nothing behind."""
        self._pieces.drop()
        return self._store.write(lambda writer: tree_store.drop_claim(writer, self._name))

    def _store_piece(self, writer: Writer, piece: dict[int, list[Member]]) -> None:
        for members in piece.values():
            _refuse_twins(members)
        made = {number: bucket(members) for number, members in piece.items()}
        known = tree_store.known_buckets(writer, made.values())
        rows = []
        for number in sorted(piece):
            bucket_id = known.get(made[number].digest)
            if bucket_id is None:
                bucket_id = self._first_id + self._fresh
                self._fresh += 1
                rows += [(bucket_id, member) for member in piece[number]]
                self._pieces.add_contents(bucket_id, piece[number])
            self._ids[number] = bucket_id
        tree_store.store_members(writer, rows)
        self._found |= made

    def _make_known(self, writer: Writer, kind: str, now_ns: int) -> Tree:
        mine = range(self._first_id, self._first_id + BUCKETS)
        fresh = {number: each for number, each in self._found.items() if self._ids[number] in mine}
        tree_store.store_buckets(writer, {self._ids[n]: each for n, each in fresh.items()})
        tree = tree_store.store_tree(writer, self._found, self._ids, kind, now_ns)
        tree_store.release(writer, self._name)
        return tree


@contextmanager
def _disk(store: Store) -> Iterator[None]:
    """Say of a disk that refuses what a database on it would say."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"{folder_of(store)} cannot be written ({error.strerror}); free space there"
        ) from error


def _refuse_twins(members: Sequence[Member]) -> None:
    seen: set[str] = set()
    for member in members:
        if member.path in seen:
            raise InvalidRequest(f"{member.path!r} came twice; send each member of a tree once")
        seen.add(member.path)


def folder_of(store: Store) -> Path:
    """Return where trees are put aside that come in."""
    return store.database.parent / FOLDER


def clear(store: Store) -> Future[None]:
    """Remove what a collector that died left of trees that came in."""
    for left in folder_of(store).glob("*"):
        remove(left)
    return store.write(tree_store.drop_claims)
