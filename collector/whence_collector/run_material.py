"""What finished runs were made of, read for many runs at once: files, variables, packages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.classes import CLASSES, SHOWN
from whence_collector.lookups import where_in
from whence_collector.recipe_keys import Material

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whence_collector.graph import Graph
    from whence_collector.store import Reader

RUNS = "SELECT run_id, argv, cwd, started_ns, ended_ns, status FROM run"
STEPS = "SELECT run_id, parent_run_id FROM run"
ENVIRONMENT = 'SELECT run_id, name, "value" FROM run_environment'
PACKAGES = """
SELECT run_id, ecosystem || ' ' || name || ' ' || coalesce(version, '?') FROM run_packages
"""
STEPS_FOLLOWED = 2_000


@dataclass(slots=True)
class Worked:
    """One run with its steps, as one piece of work."""

    run_id: str
    argv: Sequence[str]
    cwd: str | None
    started_ns: int
    ended_ns: int | None
    status: str
    own_inputs: list[rows.File] = field(default_factory=list)
    own_outputs: list[rows.File] = field(default_factory=list)
    inputs: list[rows.File] = field(default_factory=list)  # its steps' too, all classes
    outputs: list[rows.File] = field(default_factory=list)
    environment: list[tuple[str, str]] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether it is known of every file what it holds, or that nobody will know."""
        return all(
            file.content is not None
            for file in (*self.inputs, *self.outputs)
            if file.file_class in SHOWN
        )

    def shown_inputs(self) -> list[rows.File]:
        """Return the inputs whose content is known, libraries and caches left out."""
        return [file for file in self.inputs if file.file_class in SHOWN and file.digest]

    def material(self) -> Material:
        """Return what the recipe's grades are made of."""
        shown = self.shown_inputs()
        return Material(
            argv=self.argv,
            cwd=self.cwd,
            script=None,
            environment=self.environment,
            files=[(file.file_class, file.path, file.digest or "") for file in shown],
            packages=self.packages,
            libraries={
                file.digest for file in self.inputs if file.file_class == "library" and file.digest
            },
            outputs={file.path for file in self.outputs},
        )


def work_of(reader: Reader, graph: Graph, run_ids: Sequence[str]) -> dict[str, Worked]:
    """Return runs with all that they and their steps read and wrote."""
    found = {row[0]: Worked(*row) for row in where_in(reader, RUNS, "run_id", run_ids)}
    families = families_of(reader, list(found))
    everyone = list(dict.fromkeys(each for family in families.values() for each in family))
    if not everyone:
        return {}
    touched = touches.load(reader, graph.classes, everyone)
    for run_id, family in families.items():
        worked = found[run_id]
        bounds = rows.everything(family)
        worked.inputs = rows.read_files(
            reader, touched, touched.inputs(bounds, CLASSES, as_one=True)
        )
        worked.outputs = rows.written_files(reader, touched, touched.outputs(family))
        if len(family) == 1:
            worked.own_inputs, worked.own_outputs = worked.inputs, worked.outputs
        else:
            own = touched.inputs(rows.everything([run_id]), CLASSES)
            worked.own_inputs = rows.read_files(reader, touched, own)
            worked.own_outputs = rows.written_files(reader, touched, touched.outputs([run_id]))
    _add_surroundings(reader, found, families)
    return found


def families_of(reader: Reader, run_ids: list[str]) -> dict[str, list[str]]:
    """Return each run with its steps, theirs included, itself first."""
    family = {run_id: [run_id] for run_id in run_ids}
    top_of = {run_id: [run_id] for run_id in run_ids}
    level = list(run_ids)
    while level and len(top_of) < STEPS_FOLLOWED:
        below = where_in(reader, STEPS, "parent_run_id", level)
        level = []
        for step, parent in below:
            tops = top_of.setdefault(step, [])
            for top in top_of[parent]:
                if top not in tops:
                    tops.append(top)
                    family[top].append(step)
            level.append(step)
    return family


def _add_surroundings(
    reader: Reader, found: Mapping[str, Worked], families: Mapping[str, list[str]]
) -> None:
    for run_id, name, value in where_in(reader, ENVIRONMENT, "run_id", list(found)):
        found[run_id].environment.append((name, value))
    members = {step: run_id for run_id, family in families.items() for step in family}
    packages: dict[str, set[str]] = {run_id: set() for run_id in found}
    for run_id, package in where_in(reader, PACKAGES, "run_id", list(members)):
        for top, family in families.items():
            if run_id in family:
                packages[top].add(package)
    for run_id, names in packages.items():
        found[run_id].packages = sorted(names)
