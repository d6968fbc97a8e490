"""What is known of one content: the versions that hold it, who made them, who read them.

Reads only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.errors import InvalidRequest
from whence_collector.lineage import ALWAYS
from whence_collector.lookups import among, digest_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from whence_collector.store import Reader

PREFIX_DIGITS, DIGEST_DIGITS = 6, 64
DIGEST_COLUMNS = {"": "blake3", "blake3": "blake3", "sha256": "sha256"}
ARTIFACTS = (
    "SELECT artifact_id, blake3, sha256, is_stand_in, size_bytes, first_seen_ns FROM artifact"
)
VERSIONS = (
    "SELECT version_id, path_id FROM version_digest WHERE artifact_id = ? ORDER BY at_unix_ns"
)
# A shared writable mapping may be written until its process ends. Who only opened a version that
# another run then filled did not make its content: a shell opens what `cat raw > made` writes.
MADE = """
SELECT m.run_id, a.version_id, arg_max(a.process_id, a.last_unix_ns),
    arg_max(a.path_id, a.last_unix_ns), max(a.last_unix_ns) AS written_ns,
    bool_or(a.flags & 2 != 0)
FROM access a JOIN process_run m USING (process_id)
WHERE (a.op IN (2, 5) OR a.flags & 2 != 0) AND {among_versions}
GROUP BY m.run_id, a.version_id
QUALIFY bool_or(a.bytes > 0 OR a.flags & 2 != 0)
    OR NOT bool_or(bool_or(a.bytes > 0 OR a.flags & 2 != 0)) OVER (PARTITION BY a.version_id)
ORDER BY written_ns DESC LIMIT ?
"""
CONSUMERS = """
SELECT m.run_id, min(a.first_unix_ns) AS first_ns
FROM access a JOIN process_run m USING (process_id)
JOIN run r ON r.run_id = m.run_id AND r.kind NOT IN ('canary', 'question')
WHERE a.op IN (1, 3, 4) AND {among_versions}
GROUP BY m.run_id ORDER BY first_ns DESC LIMIT ?
"""
READ_BY = """
SELECT m.run_id, a.version_id, min(a.first_unix_ns)
FROM access a JOIN process_run m USING (process_id)
WHERE a.op IN (1, 3, 4) AND {among_versions} AND {among_runs}
GROUP BY m.run_id, a.version_id
"""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A content as it is stored: its digest as it is written, SHA-256 in hexadecimal."""

    artifact_id: int
    digest: str
    sha256: str | None
    size_bytes: int
    first_seen_ns: int


@dataclass(frozen=True, slots=True)
class Made:
    """That a run wrote a version: by which process last, under which name, until when."""

    run_id: str
    version_id: int
    process_id: int
    path_id: int
    written_ns: int
    mapped: bool

    @property
    def bound_ns(self) -> int:
        """Reads up to here can be in the content."""
        return ALWAYS if self.mapped else self.written_ns


@dataclass(frozen=True, slots=True)
class ReadBy:
    """That a run read a version, when first."""

    run_id: str
    version_id: int
    first_ns: int


def artifacts_of(reader: Reader, digest: str, limit: int) -> list[Artifact]:
    """Return the contents whose digest begins as given, in order; raises InvalidRequest."""
    algorithm, _, digits = digest.lower().rpartition(":")
    if algorithm not in DIGEST_COLUMNS or not re.fullmatch(
        rf"[0-9a-f]{{{PREFIX_DIGITS},{DIGEST_DIGITS}}}", digits
    ):
        raise InvalidRequest(
            f"{digest!r} is no digest; write blake3: or sha256: and {PREFIX_DIGITS} to "
            f"{DIGEST_DIGITS} hexadecimal digits"
        )
    column = DIGEST_COLUMNS[algorithm]
    if len(digits) == DIGEST_DIGITS:
        rows = reader.rows(f"{ARTIFACTS} WHERE {column} = ?", (bytes.fromhex(digits),))
    else:
        ends = [bytes.fromhex(digits.ljust(DIGEST_DIGITS, digit)) for digit in "0f"]
        rows = reader.rows(
            f"{ARTIFACTS} WHERE {column} BETWEEN ? AND ? ORDER BY {column} LIMIT ?", (*ends, limit)
        )
    return [
        Artifact(
            artifact_id,
            digest_text(blake3, sha256, is_stand_in),
            sha256.hex() if sha256 else None,
            size_bytes,
            seen_ns,
        )
        for artifact_id, blake3, sha256, is_stand_in, size_bytes, seen_ns in rows
    ]


def versions_of(reader: Reader, artifact_id: int) -> list[tuple[int, int]]:
    """Return (version_id, path_id) of the versions that hold a content, seen last at the end."""
    return reader.rows(VERSIONS, (artifact_id,))


def makers_of(reader: Reader, version_ids: Sequence[int], limit: int) -> list[Made]:
    """Return who wrote versions, newest first."""
    condition, params = among("a.version_id", version_ids)
    rows = reader.rows(MADE.format(among_versions=condition), (*params, limit))
    return [Made(*row) for row in rows]


def consumers_of(reader: Reader, version_ids: Sequence[int], limit: int) -> list[tuple[str, int]]:
    """Return (run_id, first read in Unix ns) of who read versions, newest first."""
    condition, params = among("a.version_id", version_ids)
    return reader.rows(CONSUMERS.format(among_versions=condition), (*params, limit))


def reads_by(reader: Reader, version_ids: Sequence[int], run_ids: Collection[str]) -> list[ReadBy]:
    """Return which of the versions the runs read."""
    versions, version_params = among("a.version_id", version_ids)
    runs, run_params = among("m.run_id", run_ids)
    sql = READ_BY.format(among_versions=versions, among_runs=runs)
    return [ReadBy(*row) for row in reader.rows(sql, (*version_params, *run_params))]
