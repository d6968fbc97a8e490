"""Dense ids for paths, processes, file versions and artifacts.

Ids are given inside the writer's transaction; after one that failed, memory of recent keys is
dropped, for it may hold ids that were never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from whence_collector.seen import Fingerprints, Recent, SeenFilter, fingerprint
from whence_collector.store import Writer

Key = TypeVar("Key", bound=Hashable)
Ints = npt.NDArray[np.int64]

# Keys of numbers are the bytes of one record: bytes hash faster than tuples, and many of them
# become columns at once.
PROCESS_KEY = np.dtype(
    [("boot_id", np.int32), ("tgid", np.uint32), ("start_ns", np.int64), ("image", np.uint32)]
)
VERSION_KEY = np.dtype(
    [
        ("boot_id", np.int32),
        ("capture_id", np.int32),
        ("device", np.uint32),
        ("inode", np.uint64),
        ("generation", np.uint32),
        ("version", np.uint64),
    ]
)

RECENT_KEYS = 100_000
LOAD_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind(Generic[Key]):
    """Where the keys of one kind live, and how they become columns."""

    table: str
    id_column: str
    columns: tuple[str, ...]
    to_columns: Callable[[Sequence[Key]], dict[str, Any]]
    to_fingerprints: Callable[[dict[str, Any]], Fingerprints]


class Identities(Generic[Key]):
    """The ids of one kind: given in order, never given twice to one key.

    resume() reads where the database stands and must be called once before the first resolve()
    and again after each transaction that may have failed.
    """

    def __init__(self, kind: Kind[Key], recent_keys: int = RECENT_KEYS) -> None:
        self._kind = kind
        self._recent: Recent[Key] = Recent(recent_keys)
        self._seen = SeenFilter()
        self._fresh: list[Key] = []  # given but not flushed: the ids before _next_id, in order
        self._loaded_id = 0  # up to here the filter knows the keys
        self._next_id = 1
        self._first_new_id = 1  # of the open transaction

    def resume(self, writer: Writer) -> None:
        """Drop what was not committed, and learn which keys the database holds."""
        self._recent.clear()
        self._fresh.clear()
        kind = self._kind
        highest = writer.rows(f"SELECT coalesce(max({kind.id_column}), 0) FROM {kind.table}")  # noqa: S608 -- names are ours
        self._next_id = self._first_new_id = int(highest[0][0]) + 1
        self._loaded_id = min(self._loaded_id, self._next_id - 1)
        columns = ", ".join(kind.columns)
        while self._loaded_id < self._next_id - 1:
            low, high = self._loaded_id + 1, min(self._loaded_id + LOAD_ROWS, self._next_id - 1)
            stored = writer.arrays(
                f"SELECT {columns} FROM {kind.table} WHERE {kind.id_column} BETWEEN ? AND ?",  # noqa: S608 -- names are ours
                (low, high),
            )
            self._seen.add(kind.to_fingerprints(stored))
            self._loaded_id = high

    def resolve(self, keys: Sequence[Key], writer: Writer) -> Ints:
        """Return the id of each key, giving new ones to keys that were never seen."""
        found = self._recent.get(keys)
        if None in found:
            absent = [at for at, identity in enumerate(found) if identity is None]
            given = self._give(list(dict.fromkeys([keys[at] for at in absent])), writer)
            for at in absent:
                found[at] = given[keys[at]]
        return np.array(found, np.int64)

    def _give(self, keys: list[Key], writer: Writer) -> dict[Key, int]:
        """Return ids of keys that are not among the recent: stored ones, or new ones."""
        given = self._stored(keys, writer)
        unknown = [key for key in keys if key not in given] if given else keys
        given |= zip(unknown, range(self._next_id, self._next_id + len(unknown)), strict=True)
        self._next_id += len(unknown)
        self._fresh += unknown
        self._recent.update(given)
        return given

    @property
    def first_new_id(self) -> int:
        """Ids from here on were given in the open transaction."""
        return self._first_new_id

    def is_new(self, identity: int) -> bool:
        """Tell whether the id was given in the open transaction."""
        return identity >= self._first_new_id

    def flush(
        self, writer: Writer, extra: Callable[[list[Key]], dict[str, Any]] | None = None
    ) -> None:
        """Append the rows of the ids given since the last flush; part of the open transaction.

        extra gives further columns for keys.
        """
        keys = self._fresh
        if not keys:
            return
        columns = self._kind.to_columns(keys)
        self._seen.add(self._kind.to_fingerprints(columns))
        columns[self._kind.id_column] = np.arange(self._next_id - len(keys), self._next_id)
        if extra:
            columns |= extra(keys)
        writer.append(self._kind.table, columns)
        self._loaded_id = self._next_id - 1
        self._fresh = []

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        self._first_new_id = self._next_id
        self._recent.turn()

    def _stored(self, keys: list[Key], writer: Writer) -> dict[Key, int]:
        columns = self._kind.to_columns(keys)
        maybe = np.flatnonzero(self._seen.maybe(self._kind.to_fingerprints(columns)))
        if not len(maybe):
            return {}
        asked = [keys[position] for position in maybe]
        wanted = self._kind.to_columns(asked) | {"position": np.arange(len(asked))}
        rows = writer.rows_with(
            wanted,
            f"SELECT position, {self._kind.id_column} FROM {self._kind.table} "  # noqa: S608 -- names are ours
            f"JOIN wanted USING ({', '.join(self._kind.columns)})",
        )
        return {asked[position]: int(identity) for position, identity in rows}


def _as_columns(record: np.dtype[np.void]) -> Callable[[Sequence[bytes]], dict[str, Any]]:
    def to_columns(keys: Sequence[bytes]) -> dict[str, Any]:
        records = np.frombuffer(b"".join(keys), record)
        return {name: np.ascontiguousarray(records[name]) for name in record.names or ()}

    return to_columns


def _number_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    return fingerprint(column.astype(np.uint64) for column in columns.values())


def _text_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    (texts,) = columns.values()
    return fingerprint([np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)])


def _blake3_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    digests = b"".join(columns["blake3"])  # 32 bytes each, well spread already
    return np.frombuffer(digests, np.uint64)[::4]


PATHS: Kind[str] = Kind(
    "path", "path_id", ("path",), lambda keys: {"path": list(keys)}, _text_fingerprints
)
PROCESSES: Kind[bytes] = Kind(
    "process_key",
    "process_id",
    PROCESS_KEY.names or (),
    _as_columns(PROCESS_KEY),
    _number_fingerprints,
)
VERSIONS: Kind[bytes] = Kind(
    "file_version",
    "version_id",
    VERSION_KEY.names or (),
    _as_columns(VERSION_KEY),
    _number_fingerprints,
)
ARTIFACTS: Kind[bytes] = Kind(
    "artifact",
    "artifact_id",
    ("blake3",),
    lambda keys: {"blake3": list(keys)},
    _blake3_fingerprints,
)
