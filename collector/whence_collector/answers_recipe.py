"""What answers say of recipes: packages, environment, changed code, publishers. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector.lookups import among, members_of, where_in
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from whence_collector.store import Reader

PACKAGES_LISTED = 2_000
USED = "SELECT process_id, package_id, modified FROM process_package"
PACKAGES = "SELECT package_id, ecosystem, name, version FROM package"
VARIABLES = """
SELECT e.names, e.contents FROM run r JOIN environment e USING (environment_id) WHERE r.run_id = ?
"""
CHANGES = "SELECT DISTINCT repository, path, change, difference_id IS NOT NULL FROM code_change"
ORIGINS = "SELECT version_id, repository, revision, name FROM file_origin"
CHANGE_NAMES = {1: "modified", 2: "untracked"}  # whence.v1.CodeChange
# The newest content that was seen under the name of a version, where it is another one.
CHANGED = """
WITH mine AS (
    SELECT version_id, path_id, at_unix_ns, artifact_id FROM version_digest
    WHERE artifact_id IS NOT NULL AND {among_versions}
), newest AS (
    SELECT path_id, arg_max(artifact_id, at_unix_ns) AS artifact_id, max(at_unix_ns) AS at_unix_ns
    FROM version_digest
    WHERE artifact_id IS NOT NULL AND path_id IN (SELECT path_id FROM mine)
    GROUP BY path_id
)
SELECT m.version_id FROM mine m JOIN newest n USING (path_id)
WHERE n.at_unix_ns > m.at_unix_ns AND n.artifact_id != m.artifact_id
"""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What is known of versions beside their content."""

    origins: Mapping[int, str]
    changed: frozenset[int]  # other content stands under the name since

    def mark(self, version_id: int, edge: wire.FileEdge) -> wire.FileEdge:
        """Put what is known of a version into its edge."""
        if version_id in self.origins:
            edge.origin = self.origins[version_id]
        if version_id in self.changed:
            edge.changed_since = True
        return edge


def remarks(reader: Reader, version_ids: Iterable[int]) -> Remarks:
    """Return what is known of versions."""
    asked = set(version_ids)
    if not asked:
        return Remarks({}, frozenset())
    origins = {
        version_id: f"{repository}@{revision or 'unknown'}:{name or 'unknown'}"
        for version_id, repository, revision, name in where_in(reader, ORIGINS, "version_id", asked)
    }
    condition, params = among("version_id", asked)
    rows = reader.rows(CHANGED.format(among_versions=condition), params)
    return Remarks(origins, frozenset(version_id for (version_id,) in rows))


def packages(reader: Reader, run_ids: Collection[str]) -> list[wire.Package]:
    """Return the packages that runs used, by ecosystem and name."""
    members = members_of(reader, run_ids)
    modified: dict[int, bool] = {}
    for _, package_id, differs in where_in(reader, USED, "process_id", list(members)):
        modified[package_id] = modified.get(package_id, False) or differs
    found: dict[tuple[str, str, str], bool] = {}
    for package_id, *parts in where_in(reader, PACKAGES, "package_id", list(modified)):
        ecosystem, name, version = parts
        key = (ecosystem, name, version or "")
        found[key] = found.get(key, False) or modified[package_id]
    return [
        wire.Package(ecosystem=ecosystem, name=name, version=version or None, modified=differs)
        for (ecosystem, name, version), differs in sorted(found.items(), key=_of_people_first)
    ][:PACKAGES_LISTED]


def _of_people_first(found: tuple[tuple[str, str, str], bool]) -> tuple[bool, str, str]:
    """Order what somebody chose to install before what the system came with."""
    (ecosystem, name, version), _ = found
    return (ecosystem in ("deb", "rpm"), name.lower(), version)


def variables(reader: Reader, run_id: str) -> list[wire.Variable]:
    """Return the environment of a run."""
    found = reader.rows(VARIABLES, (run_id,))
    if not found:
        return []
    return [wire.Variable(name=name, value=value) for name, value in zip(*found[0], strict=True)]


def changed_code(reader: Reader, run_ids: Collection[str]) -> list[wire.ChangedFile]:
    """Return the files that runs read and that were not as committed, each once."""
    members = list(members_of(reader, run_ids))
    found = {
        (repository, path): (CHANGE_NAMES.get(change, ""), kept)
        for repository, path, change, kept in where_in(reader, CHANGES, "process_id", members)
    }
    return [
        wire.ChangedFile(path=path, change=change, repository=repository, has_difference=kept)
        for (repository, path), (change, kept) in sorted(found.items())
    ]
