"""Wire columns to the rows of the recipe: environments, packages, changed code, names, containers.

Pure; indexes of the batch become dense ids, deltas Unix time.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

from whence_collector.resolved import (
    NO_RECIPE,
    ChangeRow,
    ContainerRow,
    EnvironmentRow,
    OriginRow,
    PackageRow,
    RecipeRows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whence_collector.hosts import Origin
    from whence_proto.v1 import ingest_pb2 as wire


def recipe_rows(
    batch: wire.Batch, origin: Origin, process_ids: Sequence[int], version_ids: Sequence[int]
) -> RecipeRows:
    """Return the rows; ids are given by the batch's own indexes, which count from 1."""
    told = (
        batch.environments.process,
        batch.package_uses.process,
        batch.code_changes.process,
        batch.file_origins.file,
        batch.containers.id_text,
    )
    if not any(map(len, told)):
        return NO_RECIPE
    reader = _Reader(batch, origin, process_ids, version_ids)
    return RecipeRows(
        tuple(reader.environments()),
        tuple(reader.packages()),
        tuple(reader.changes()),
        tuple(reader.origins()),
        tuple(reader.containers()),
    )


def merged(parts: Sequence[RecipeRows]) -> RecipeRows:
    """Join the rows of several batches, oldest first."""
    if all(part is NO_RECIPE for part in parts):
        return NO_RECIPE
    tables = [[getattr(part, each.name) for part in parts] for each in fields(RecipeRows)]
    return RecipeRows(*(tuple(chain.from_iterable(table)) for table in tables))


class _Reader:
    """One batch with what its indexes mean."""

    def __init__(
        self, batch: wire.Batch, origin: Origin, process_ids: Sequence[int], versions: Sequence[int]
    ) -> None:
        self._batch = batch
        self._host_id = origin.host_id
        self._process, self._version = process_ids, versions
        self._text: list[str | None] = [None, *batch.strings]
        self._zero_ns = batch.base_ns + batch.wall_offset_ns

    def environments(self) -> Iterator[EnvironmentRow]:
        of = self._batch.environments
        ends = list(accumulate(of.variable_count, initial=0))
        texts = [self._text[at] or "" for at in of.variable_text]
        for row, (begin, end) in enumerate(pairwise(ends)):
            pairs = tuple(zip(texts[begin:end:2], texts[begin + 1 : end : 2], strict=True))
            yield EnvironmentRow(self._process[of.process[row]], of.truncated[row], pairs)

    def packages(self) -> Iterator[PackageRow]:
        of, text = self._batch.package_uses, self._text
        for row, process in enumerate(of.process):
            yield PackageRow(
                self._process[process],
                text[of.ecosystem_text[row]] or "",
                text[of.name_text[row]] or "",
                text[of.version_text[row]],
                text[of.location_text[row]],
                of.record_sha256[row],
                of.modified[row],
                self._zero_ns + of.at_ns[row],
            )

    def changes(self) -> Iterator[ChangeRow]:
        of, text = self._batch.code_changes, self._text
        for row, process in enumerate(of.process):
            yield ChangeRow(
                self._process[process],
                text[of.repository_text[row]] or "",
                text[of.path_text[row]] or "",
                of.change[row],
                text[of.commit_text[row]],
                text[of.difference_text[row]],
                text[of.reason_text[row]],
                of.redacted[row],
                self._zero_ns + of.at_ns[row],
            )

    def origins(self) -> Iterator[OriginRow]:
        of, text = self._batch.file_origins, self._text
        for row, file in enumerate(of.file):
            yield OriginRow(
                self._version[file],
                text[of.publisher_text[row]] or "",
                text[of.kind_text[row]] or "",
                text[of.repository_text[row]] or "",
                text[of.revision_text[row]],
                text[of.reference_text[row]],
                text[of.name_text[row]],
                self._zero_ns + of.at_ns[row],
            )

    def containers(self) -> Iterator[ContainerRow]:
        of, text = self._batch.containers, self._text
        for row, container in enumerate(of.id_text):
            yield ContainerRow(
                self._host_id,
                text[container] or "",
                text[of.runtime_text[row]],
                text[of.name_text[row]],
                text[of.image_text[row]],
                text[of.image_digest_text[row]],
                self._zero_ns + of.at_ns[row],
            )
