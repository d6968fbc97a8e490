"""The names that outputs have now, with the renames after their run applied. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence_collector.answer_rows import output_names
from whence_collector.lookups import among, paths, where_in
from whence_collector.names import Change, Written, standing_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whence_collector.answers_content import Made
    from whence_collector.store import Reader, Row

# Of any folder, or of these very files.
LATER_CHANGES = """
SELECT process_id, change, path_id, new_path_id, at_unix_ns, version_id, directory
FROM name_change WHERE at_unix_ns > ? AND (directory OR {among_versions}) ORDER BY at_unix_ns
"""
# Files that got a name by a rename, a link or an exchange; a deletion gives none.
NAMED = """
SELECT DISTINCT c.version_id FROM name_change c JOIN path n ON n.path_id = c.new_path_id
WHERE n.path = ? AND c.version_id IS NOT NULL
"""


def versions_named(reader: Reader, path: str) -> frozenset[int]:
    """Return the versions that were given a path as a name after they were written."""
    rows = reader.rows(NAMED, (path,)) if path else ()
    return frozenset(version_id for (version_id,) in rows)


def names_now(reader: Reader, made: Sequence[Made], ended_ns: Mapping[str, int]) -> dict[Made, str]:
    """Return the name of each output now; ended_ns says when runs ended, where they did."""
    if not made:
        return {}
    texts = paths(reader, {each.path_id for each in made})
    settled = output_names(reader, {each.version_id for each in made})
    names = {}
    for each in made:
        key = (each.run_id, each.version_id, each.path_id)
        names[each] = settled[key][0] if key in settled else texts[each.path_id]
    since_ns = {each: max(each.written_ns, ended_ns.get(each.run_id, 0)) for each in made}
    condition, params = among("version_id", {each.version_id for each in made})
    changes = reader.rows(
        LATER_CHANGES.format(among_versions=condition), (min(since_ns.values()), *params)
    )
    return _renamed(reader, names, since_ns, changes) if changes else names


def _renamed(
    reader: Reader, names: dict[Made, str], since_ns: Mapping[Made, int], changes: list[Row]
) -> dict[Made, str]:
    """Apply changes on the same boot and in the same mount namespace as the writer."""
    texts = paths(reader, {path_id for row in changes for path_id in row[2:4] if path_id})
    asked = {row[0] for row in changes} | {each.process_id for each in names}
    place = {
        process_id: (boot_id, mount_namespace)
        for process_id, boot_id, mount_namespace in where_in(
            reader, "SELECT process_id, boot_id, mount_namespace FROM process", "process_id", asked
        )
    }
    renamed = {}
    for made, path in names.items():
        events = [
            Change(change, texts[path_id], texts.get(new_path_id, ""), at_ns)
            for process_id, change, path_id, new_path_id, at_ns, version_id, directory in changes
            if at_ns > since_ns[made]
            and (directory or version_id == made.version_id)
            and place.get(process_id, 0) == place.get(made.process_id, 1)
        ]
        written = Written(made.version_id, path, 0)
        renamed[made] = standing_names([written], events)[made.version_id].path
    return renamed
