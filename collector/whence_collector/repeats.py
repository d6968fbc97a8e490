"""Runs that repeat earlier ones: noticed while they run, graded when they ended.

A running run is compared by how it was started and by the inputs that it has read so far, in the
order of an earlier run's inputs: after a few equal contents a match by chance is not to be feared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.classes import SHOWN
from whence_collector.recipe_keys import opening_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whence_collector.graph import Graph
    from whence_collector.recipe_keys import Keys
    from whence_collector.run_material import Worked
    from whence_collector.store import Reader, Writer

GRADES = (("exact", "exact"), ("same_result", "same result"), ("intent", "same intent"))
# Before this age a run has not read enough; a short run ends sooner and is graded then.
LEAST_AGE_NS = 5 * 1_000_000_000
# A run that has read its code and nothing else so far is believed after this.
CODE_ALONE_NS = 30 * 1_000_000_000
RUNNING_LOOKED_AT = 500
EARLIER_COMPARED = 20
RUNNING = """
SELECT run_id, argv, cwd, started_ns FROM run
WHERE status = 'running' AND kind NOT IN ('canary', 'question', 'session') AND started_ns <= ?
    AND run_id NOT IN (SELECT run_id FROM repeat)
ORDER BY started_ns DESC LIMIT ?
"""
EARLIER = """
SELECT p.run_id, r.cwd, r.argv FROM run_recipe p JOIN run r ON r.run_id = p.run_id
WHERE p.opening = ? AND r.status = 'succeeded' AND r.ended_ns <= ?
ORDER BY r.ended_ns DESC LIMIT ?
"""
SAME = """
SELECT p.run_id FROM run_recipe p JOIN run r ON r.run_id = p.run_id
WHERE p.{key} = ? AND r.status = 'succeeded' AND r.ended_ns <= ? AND p.run_id != ?
    AND r.parent_run_id IS DISTINCT FROM ? AND p.run_id IS DISTINCT FROM ?
ORDER BY r.ended_ns DESC LIMIT 1
"""
PREFIXES = """
SELECT artifact_id FROM run_prefix WHERE run_id = ? ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Repeat:
    """That a run repeats an earlier one."""

    run_id: str
    earlier_run_id: str
    grade: str
    inputs_matched: int


def note_finished(writer: Writer, worked: Worked, keys: Keys, now_ns: int) -> None:
    """Grade a run that ended; what was noticed while it ran gives way to what is known now."""
    writer.execute("DELETE FROM repeat WHERE run_id = ?", (worked.run_id,))
    shown = worked.shown_inputs()
    if not shown or not worked.outputs:
        return
    found = best_match(writer, keys, worked.started_ns, worked.run_id)
    if found is not None:
        earlier, grade = found
        note(writer, [Repeat(worked.run_id, earlier, grade, len(shown))], now_ns)


def best_match(
    reader: Reader, keys: Keys, before_ns: int, run_id: str = ""
) -> tuple[str, str] | None:
    """Return the newest earlier run of the best grade, and the grade; None where there is none.

    keys may be those of a run that is only intended: then run_id is empty.
    """
    for key, grade in GRADES:
        sql = SAME.format(key=key)
        found = reader.rows(sql, (getattr(keys, key), before_ns, run_id, run_id, run_id))
        if found:
            return str(found[0][0]), grade
    return None


def note(writer: Writer, repeats: Sequence[Repeat], now_ns: int) -> None:
    """Store repeats."""
    writer.append(
        "repeat",
        {
            "run_id": [each.run_id for each in repeats],
            "earlier_run_id": [each.earlier_run_id for each in repeats],
            "grade": [each.grade for each in repeats],
            "inputs_matched": [each.inputs_matched for each in repeats],
            "noticed_ns": [now_ns] * len(repeats),
        },
    )


def among_running(reader: Reader, graph: Graph, now_ns: int) -> list[Repeat]:
    """Return runs that repeat an earlier one as far as they have come."""
    running = reader.rows(RUNNING, (now_ns - LEAST_AGE_NS, RUNNING_LOOKED_AT))
    candidates = {
        run_id: earlier
        for run_id, argv, _, started_ns in running
        if (earlier := reader.rows(EARLIER, (opening_of(argv), started_ns, EARLIER_COMPARED)))
    }
    if not candidates:
        return []
    read = _read_so_far(reader, graph, list(candidates))
    found = []
    for run_id, argv, cwd, started_ns in running:
        files = read.get(run_id, [])
        if run_id not in candidates or not _has_told(files, now_ns - started_ns):
            continue
        contents = [file.content.artifact_id or 0 for file in files if file.content]
        for earlier_id, earlier_cwd, earlier_argv in candidates[run_id]:
            if is_prefix(contents, [each for (each,) in reader.rows(PREFIXES, (earlier_id,))]):
                alike = (cwd, list(argv)) == (earlier_cwd, list(earlier_argv))
                grade = "exact" if alike else "same result"
                found.append(Repeat(run_id, earlier_id, grade, len(contents)))
                break
    return found


def _read_so_far(
    reader: Reader, graph: Graph, run_ids: Sequence[str]
) -> Mapping[str, list[rows.File]]:
    touched = touches.load(reader, graph.classes, run_ids)
    files = rows.read_files(reader, touched, touched.inputs(rows.everything(run_ids), SHOWN))
    read: dict[str, list[rows.File]] = {}
    for file in files:
        read.setdefault(file.run_id, []).append(file)
    return read


def _has_told(files: Sequence[rows.File], age_ns: int) -> bool:
    """Whether what a run has read says what it does: data, or for a while nothing but code."""
    if not files or not all(file.digest for file in files):
        return False  # bytes are being hashed: soon
    return age_ns >= CODE_ALONE_NS or any(file.file_class in ("data", "model") for file in files)


def is_prefix(contents: Sequence[int], earlier: Sequence[int]) -> bool:
    """Whether contents are what an earlier run had read by then, loaders' order left aside.

    Pure. Readers in parallel come in another order each time: so the first contents count as a
    set, with room for as many again.
    """
    if not contents or not earlier:
        return False
    room = set(earlier if len(contents) >= len(earlier) else earlier[: 2 * len(contents) + 8])
    if len(contents) > len(earlier):
        return set(earlier) <= set(contents)
    return set(contents) <= room
