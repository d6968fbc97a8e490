"""Dense ids for paths, processes, file versions and artifacts.

Ids are given inside the writer's transaction; after one that failed, memory of recent keys is
dropped, for it may hold ids that were never stored. Paths are texts and remembered in a dictionary;
the others are numbers and remembered in arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whence_collector.key_table import Ints, Keys, RecentKeys, distinct
from whence_collector.seen import Fingerprints, Recent, SeenFilter, fingerprint
from whence_collector.store import Writer

BLAKE3_BYTES = 32
RECENT_KEYS = 100_000
LOAD_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the keys of one kind live; fingerprints are made of columns of the database."""

    table: str
    id_column: str
    columns: tuple[str, ...]
    to_fingerprints: Callable[[dict[str, Any]], Fingerprints]


@dataclass(frozen=True, slots=True)
class NumberKind(Kind):
    """Keys that are rows of numbers, and how they become columns."""

    width: int  # numbers of a key
    to_columns: Callable[[Keys], dict[str, Any]]
    of_keys: Callable[[Keys], Fingerprints]  # the same as to_fingerprints(to_columns(keys))


class _Numbering:
    """The ids of one table: which are given, which are stored, which keys have none for sure."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._seen = SeenFilter()
        self._loaded_id = 0  # up to here the filter knows the keys
        self.next_id = 1
        self.first_new_id = 1  # of the open transaction

    def resume(self, writer: Writer) -> None:
        """Learn where the database stands and which keys it holds."""
        kind = self._kind
        highest = writer.rows(f"SELECT coalesce(max({kind.id_column}), 0) FROM {kind.table}")  # noqa: S608 -- names are ours
        self.next_id = self.first_new_id = int(highest[0][0]) + 1
        self._loaded_id = min(self._loaded_id, self.next_id - 1)
        columns = ", ".join(kind.columns)
        while self._loaded_id < self.next_id - 1:
            low, high = self._loaded_id + 1, min(self._loaded_id + LOAD_ROWS, self.next_id - 1)
            stored = writer.arrays(
                f"SELECT {columns} FROM {kind.table} WHERE {kind.id_column} BETWEEN ? AND ?",  # noqa: S608 -- names are ours
                (low, high),
            )
            self._seen.add(kind.to_fingerprints(stored))
            self._loaded_id = high

    def give(self, count: int) -> Ints:
        """Return ids that were never given."""
        self.next_id += count
        return np.arange(self.next_id - count, self.next_id)

    def maybe_stored(self, fingerprints: Fingerprints) -> Ints:
        """Return the positions of keys that the database may hold."""
        return np.flatnonzero(self._seen.maybe(fingerprints))

    def stored(self, columns: dict[str, Any], writer: Writer) -> tuple[Ints, Ints]:
        """Return which of the keys the database holds, as positions and ids."""
        length = len(next(iter(columns.values())))
        rows = writer.rows_with(
            columns | {"position": np.arange(length)},
            f"SELECT position, {self._kind.id_column} FROM {self._kind.table} "  # noqa: S608 -- names are ours
            f"JOIN wanted USING ({', '.join(self._kind.columns)})",
        )
        position, identity = np.array(rows, np.int64).reshape(-1, 2).T
        return position, identity

    def store(
        self,
        columns: dict[str, Any],
        fingerprints: Fingerprints,
        extra: dict[str, Any],
        writer: Writer,
    ) -> int:
        """Append the keys of the last ids, in order; return the first of these ids."""
        first_id = self.next_id - len(fingerprints)
        self._seen.add(fingerprints)
        ids = {self._kind.id_column: np.arange(first_id, self.next_id)}
        writer.append(self._kind.table, columns | ids | extra)
        self._loaded_id = self.next_id - 1
        return first_id

    def committed(self) -> None:
        """Take in that the transaction is committed."""
        self.first_new_id = self.next_id


class TextIds:
    """The ids of texts: given in order, never given twice to one text.

    resume() reads where the database stands and must be called once before the first resolve()
    and again after each transaction that may have failed.
    """

    def __init__(self, kind: Kind, recent_keys: int = RECENT_KEYS) -> None:
        self._numbering = _Numbering(kind)
        self._column = kind.columns[0]
        self._recent: Recent[str] = Recent(recent_keys)
        self._fresh: list[str] = []  # given but not flushed: the last ids, in order

    def resume(self, writer: Writer) -> None:
        """Drop what was not committed, and learn which texts the database holds."""
        self._recent.clear()
        self._fresh.clear()
        self._numbering.resume(writer)

    def resolve(self, texts: Sequence[str], writer: Writer) -> Ints:
        """Return the id of each text, giving new ones to texts that were never seen."""
        found = self._recent.ids(texts)
        absent = np.flatnonzero(found == 0)
        if len(absent):
            asked = [texts[at] for at in absent.tolist()]
            given = self._give(list(dict.fromkeys(asked)), writer)
            found[absent] = np.fromiter(map(given.__getitem__, asked), np.int64, len(asked))
        return found

    def is_new(self, identity: int) -> bool:
        """Tell whether the id was given in the open transaction."""
        return identity >= self._numbering.first_new_id

    def flush(self, writer: Writer) -> tuple[int, list[str]]:
        """Append the texts that got ids since the last flush; return the first id and them."""
        texts, self._fresh = self._fresh, []
        if not texts:
            return self._numbering.next_id, texts
        prints = _text_fingerprints({self._column: texts})
        first_id = self._numbering.store({self._column: texts}, prints, {}, writer)
        return first_id, texts

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        self._numbering.committed()
        self._recent.turn()

    def _give(self, texts: list[str], writer: Writer) -> dict[str, int]:
        """Return ids of texts that are not among the recent: stored ones, or new ones."""
        given = self._stored(texts, writer)
        unknown = [text for text in texts if text not in given] if given else texts
        given.update(zip(unknown, self._numbering.give(len(unknown)).tolist(), strict=True))
        self._fresh += unknown
        self._recent.update(given)
        return given

    def _stored(self, texts: list[str], writer: Writer) -> dict[str, int]:
        maybe = self._numbering.maybe_stored(_text_fingerprints({self._column: texts})).tolist()
        if not maybe:
            return {}
        asked = [texts[at] for at in maybe]
        positions, ids = self._numbering.stored({self._column: asked}, writer)
        return {asked[at]: each for at, each in zip(positions.tolist(), ids.tolist(), strict=True)}


class NumberIds:
    """The ids of keys of numbers, as TextIds gives them to texts."""

    def __init__(self, kind: NumberKind, recent_keys: int = RECENT_KEYS) -> None:
        self._kind = kind
        self._numbering = _Numbering(kind)
        self._recent = RecentKeys(kind.width, recent_keys)
        self._fresh: list[tuple[Fingerprints, Keys]] = []  # given but not flushed, in order

    def resume(self, writer: Writer) -> None:
        """Drop what was not committed, and learn which keys the database holds."""
        self._recent.clear()
        self._fresh.clear()
        self._numbering.resume(writer)

    def resolve(self, keys: Keys, writer: Writer) -> Ints:
        """Return the id of each key, giving new ones to keys that were never seen."""
        prints = self._kind.of_keys(keys)
        found = self._recent.find(prints, keys)
        absent = np.flatnonzero(found == 0)
        if len(absent):
            first, which = distinct(prints[absent], keys[absent])
            asked = absent[first]
            found[absent] = self._give(prints[asked], keys[asked], writer)[which]
        return found

    @property
    def first_new_id(self) -> int:
        """Ids from here on were given in the open transaction."""
        return self._numbering.first_new_id

    def is_new(self, identity: int) -> bool:
        """Tell whether the id was given in the open transaction."""
        return identity >= self._numbering.first_new_id

    def flush(self, writer: Writer, extra: dict[str, Any] | None = None) -> None:
        """Append the keys that got ids since the last flush; part of the open transaction.

        extra: further columns for them, in the order of their ids.
        """
        if not self._fresh:
            return
        prints = np.concatenate([prints for prints, _ in self._fresh])
        columns = self._kind.to_columns(np.concatenate([keys for _, keys in self._fresh]))
        self._fresh.clear()
        if len(prints):
            self._numbering.store(columns, prints, extra or {}, writer)

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        self._numbering.committed()
        self._recent.turn()

    def _give(self, prints: Fingerprints, keys: Keys, writer: Writer) -> Ints:
        """Return ids of keys that are not among the recent: stored ones, or new ones."""
        ids = np.zeros(len(keys), np.int64)
        maybe = self._numbering.maybe_stored(prints)
        if len(maybe):
            positions, known = self._numbering.stored(self._kind.to_columns(keys[maybe]), writer)
            ids[maybe[positions]] = known
        unknown = ids == 0
        ids[unknown] = self._numbering.give(int(unknown.sum()))
        self._fresh.append((prints[unknown], keys[unknown]))
        self._recent.add(prints, keys, ids)
        return ids


def _text_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    (texts,) = columns.values()
    return fingerprint([np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)])


def _number_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    return fingerprint(column.astype(np.uint64) for column in columns.values())


def _key_fingerprints(keys: Keys) -> Fingerprints:
    return fingerprint(np.ascontiguousarray(column) for column in keys.T)


def _blake3_fingerprints(columns: dict[str, Any]) -> Fingerprints:
    return _first_number(keys_of_digests(columns["blake3"].tolist()))


def _first_number(keys: Keys) -> Fingerprints:
    return np.ascontiguousarray(keys[:, 0])  # of a digest, well spread already


def keys_of_digests(digests: Sequence[bytes]) -> Keys:
    """Return BLAKE3 digests of 32 bytes as keys."""
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, BLAKE3_BYTES // 8)


def _digest_columns(keys: Keys) -> dict[str, Any]:
    ends = pa.py_buffer((np.arange(len(keys) + 1) * BLAKE3_BYTES).astype(np.int32))
    data = pa.py_buffer(np.ascontiguousarray(keys))
    return {"blake3": pa.Array.from_buffers(pa.binary(), len(keys), [None, ends, data])}


def _number_kind(
    table: str, id_column: str, columns: dict[str, type[np.integer[Any]]]
) -> NumberKind:
    def to_columns(keys: Keys) -> dict[str, npt.NDArray[Any]]:
        return {
            name: keys[:, at].astype(number) for at, (name, number) in enumerate(columns.items())
        }

    return NumberKind(
        table,
        id_column,
        tuple(columns),
        _number_fingerprints,
        len(columns),
        to_columns,
        _key_fingerprints,
    )


PATHS = Kind("path", "path_id", ("path",), _text_fingerprints)
PROCESSES = _number_kind(
    "process_key",
    "process_id",
    {"boot_id": np.int32, "tgid": np.uint32, "start_ns": np.int64, "image": np.uint32},
)
VERSIONS = _number_kind(
    "file_version",
    "version_id",
    {
        "boot_id": np.int32,
        "capture_id": np.int32,
        "device": np.uint32,
        "inode": np.uint64,
        "generation": np.uint32,
        "version": np.uint64,
    },
)
ARTIFACTS = NumberKind(
    "artifact",
    "artifact_id",
    ("blake3",),
    _blake3_fingerprints,
    BLAKE3_BYTES // 8,
    _digest_columns,
    _first_number,
)
