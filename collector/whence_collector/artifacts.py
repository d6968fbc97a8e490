"""Artifacts: the ids of contents, and what a content is stored with when it is new.

Runs inside the writer's transaction.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from whence_collector.identity import ARTIFACTS, NumberIds, keys_of_digests
from whence_collector.stack import Stack
from whence_collector.store import Writer

Ints = npt.NDArray[np.int64]

TOLD_KEPT = 200_000


class Artifacts:
    """The ids of contents by BLAKE3; SHA-256, size and time are those that came first."""

    def __init__(self) -> None:
        self._ids = NumberIds(ARTIFACTS)
        self._described: dict[str, Any] = {}  # columns of those that are given but not flushed
        self._told = OrderedDict[int, None]()  # have their SHA-256; the newest of them

    def resume(self, writer: Writer) -> None:
        """Drop what was not committed, and learn which contents the database holds."""
        self._described = {}
        self._told.clear()
        self._ids.resume(writer)

    def resolve(self, stack: Stack, writer: Writer) -> Ints:
        """Return the artifact of each digest of the stacked batches, 0 where there is none.

        To be called once before flush(). SHA-256 of contents that are stored without it is added.
        """
        sent = [each.message.digests for each in stack.batches if "digests" in each.arrays]
        sha256 = [digest for each in sent for digest in each.sha256]
        blake3 = [digest for each in sent for digest in each.blake3]
        asserted = [not mine and bool(other) for mine, other in zip(blake3, sha256, strict=True)]
        if any(asserted):
            blake3 = _with_stand_ins(blake3, sha256, writer)
        hashed = np.flatnonzero(np.fromiter(map(len, blake3), np.int64, len(blake3)))
        ids = self._ids.resolve(keys_of_digests(blake3), writer)
        is_new = ids >= self._ids.first_new_id
        with_sha256 = np.fromiter(map(len, sha256), np.int64, len(sha256))[hashed] != 0
        self._describe(stack, ids[is_new], hashed[is_new], asserted)
        self._add_sha256(ids[is_new & with_sha256], hashed[is_new & with_sha256], sha256)
        known = with_sha256 & ~is_new
        learned = {
            artifact_id: sha256[row]
            for artifact_id, row in zip(ids[known].tolist(), hashed[known].tolist(), strict=True)
            if artifact_id not in self._told
        }
        _learn_sha256(learned, writer)
        self._remember(ids[with_sha256].tolist())
        found = np.zeros(len(blake3), np.int64)
        found[hashed] = ids
        return found

    def _remember(self, ids: list[int]) -> None:
        self._told.update(dict.fromkeys(ids))
        while len(self._told) > TOLD_KEPT:
            self._told.popitem(last=False)

    def flush(self, writer: Writer) -> None:
        """Append the contents that got ids since the last flush."""
        described, self._described = self._described, {}
        self._ids.flush(writer, described)

    def committed(self) -> None:
        """Take in that the transaction is committed; only called between transactions."""
        self._ids.committed()

    def _describe(self, stack: Stack, ids: Ints, rows: Ints, asserted: list[bool]) -> None:
        """Keep what new contents are stored with: of each, the first of its rows tells."""
        _, first = np.unique(ids, return_index=True)
        rows = rows[first]
        self._described = {
            "sha256": [None] * len(rows),
            "is_stand_in": [asserted[row] for row in rows.tolist()],
            "size_bytes": stack.column("digests", "size_bytes")[rows],
            "first_seen_ns": stack.times("digests", "at_ns")[rows],
        }

    def _add_sha256(self, ids: Ints, rows: Ints, sha256: list[bytes]) -> None:
        new_ids, first = np.unique(ids, return_index=True)
        described = self._described["sha256"]
        places = (new_ids - self._ids.first_new_id).tolist()
        for place, row in zip(places, rows[first].tolist(), strict=True):
            described[place] = sha256[row]


def _with_stand_ins(blake3: list[bytes], sha256: list[bytes], writer: Writer) -> list[bytes]:
    """Give contents of which a publisher asserts SHA-256 alone a BLAKE3 to be found by.

    It is that of the same content, where that was read before, else a stand-in, marked as one.
    """
    pairs = list(zip(blake3, sha256, strict=True))
    wanted = sorted({other for mine, other in pairs if other and not mine})
    known: dict[bytes, bytes] = dict(
        writer.rows_with(
            {"sha256": wanted},
            "SELECT sha256, any_value(blake3) FROM artifact JOIN wanted USING (sha256) "
            "WHERE is_stand_in IS NOT TRUE GROUP BY sha256",
        )
    )
    return [mine or (other and (known.get(other) or stand_in(other))) for mine, other in pairs]


def stand_in(sha256: bytes) -> bytes:
    """Return 32 bytes that stand for the BLAKE3 of a content that was never read."""
    return hashlib.blake2b(b"sha256:" + sha256, digest_size=32).digest()


def _learn_sha256(learned: dict[int, bytes], writer: Writer) -> None:
    """Add SHA-256 to artifacts that were first seen as inputs."""
    if learned:
        writer.rows_with(
            {"artifact_id": list(learned), "sha256": list(learned.values())},
            "UPDATE artifact SET sha256 = wanted.sha256 FROM wanted "
            "WHERE artifact.artifact_id = wanted.artifact_id AND artifact.sha256 IS NULL",
        )
