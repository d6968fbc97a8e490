"""Short look-ups by id that answers are made of: names, contents, runs of processes.

Reads only. Several plain statements: in DuckDB the planning of one join costs more than they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from whence_collector.store import Reader, Row

FEW = 8  # ids that are compared one by one; more of them make a hash table


@dataclass(frozen=True, slots=True)
class Content:
    """What a file version holds; nothing is known of a version that has none."""

    artifact_id: int | None
    digest: str | None  # as it is written
    state: int  # whence.v1.DigestState
    reason: str | None
    size_bytes: int


def where_in(
    reader: Reader, select: str, column: str, values: Collection[int] | Collection[str]
) -> list[Row]:
    """Run a SELECT without WHERE for the rows whose column is among the values.

    select and column are our own text.
    """
    if not values:
        return []
    condition, params = among(column, values)
    return reader.rows(f"{select} WHERE {condition}", params)


def among(column: str, values: Collection[int] | Collection[str]) -> tuple[str, list[object]]:
    """Return the condition that a column is among values, and its parameters."""
    if len(values) <= FEW:
        return f"{column} IN ({', '.join('?' * len(values))})", list(values)
    kind = "VARCHAR" if isinstance(next(iter(values)), str) else "BIGINT"
    return f"{column} IN (SELECT unnest(?::{kind}[]))", [list(values)]


def paths(reader: Reader, path_ids: Iterable[int]) -> dict[int, str]:
    """Return the text of paths by path_id."""
    return dict(where_in(reader, "SELECT path_id, path FROM path", "path_id", set(path_ids)))


def contents(reader: Reader, version_ids: Iterable[int]) -> dict[int, Content]:
    """Return what is known of the content of versions, by version_id."""
    found = where_in(
        reader,
        "SELECT version_id, artifact_id, state, reason, size_bytes FROM version_digest",
        "version_id",
        set(version_ids),
    )
    digest = digests(reader, {row[1] for row in found if row[1]})
    return {
        version_id: Content(artifact_id, digest.get(artifact_id), state, reason, size_bytes)
        for version_id, artifact_id, state, reason, size_bytes in found
    }


def digests(reader: Reader, artifact_ids: Collection[int]) -> dict[int, str]:
    """Return digests as they are written by artifact_id."""
    select = "SELECT artifact_id, blake3, sha256, is_stand_in FROM artifact"
    found = where_in(reader, select, "artifact_id", artifact_ids)
    return {artifact_id: digest_text(*parts) for artifact_id, *parts in found}


def digest_text(blake3: bytes, sha256: bytes | None, is_stand_in: bool | None) -> str:
    """Write a digest: BLAKE3, or SHA-256 where that is all that a publisher told."""
    if is_stand_in and sha256:
        return f"sha256:{sha256.hex()}"
    return f"blake3:{blake3.hex()}"


def runs_of(reader: Reader, process_ids: Collection[int]) -> dict[int, str]:
    """Return the run_id of processes that have one."""
    return dict(
        where_in(reader, "SELECT process_id, run_id FROM process_run", "process_id", process_ids)
    )


def members_of(reader: Reader, run_ids: Collection[str]) -> dict[int, str]:
    """Return the processes of runs: process_id -> run_id."""
    return dict(where_in(reader, "SELECT process_id, run_id FROM process_run", "run_id", run_ids))


def boots_of(reader: Reader, process_ids: Collection[int]) -> dict[int, int]:
    """Return the boot_id of described processes."""
    return dict(
        where_in(reader, "SELECT process_id, boot_id FROM process", "process_id", process_ids)
    )


def host_names(reader: Reader) -> dict[int, str]:
    """Return the name of the host by boot_id."""
    return dict(reader.rows("SELECT boot_id, name FROM boot JOIN host USING (host_id)"))
