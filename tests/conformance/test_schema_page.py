"""docs/schema.md says of every stable view exactly what a fresh database holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.conformance.repository import ROOT

from whence_collector.store import Store

if TYPE_CHECKING:
    from pathlib import Path

VIEWS = (
    "runs",
    "processes",
    "file_accesses",
    "artifacts",
    "run_inputs",
    "run_outputs",
    "run_dependencies",
    "run_environment",
    "run_seeds",
    "run_hosts",
    "run_units",
    "run_packages",
    "run_code_changes",
    "run_interpreters",
    "run_gpu_libraries",
    "artifact_origins",
    "containers",
    "hosts",
    "gpu_holds",
    "spend",
    "spend_violations",
    "gpu_activity",
    "gpu_faults",
    "requests",
    "decisions",
    "request_runs",
    "request_remarks",
    "audit",
    "unobserved_times",
    "run_proofs",
    "losses",
    "trees",
    "run_trees",
    "run_recipes",
    "duplicates",
    "tags",
    "metrics",
)


def documented() -> dict[str, list[tuple[str, str]]]:
    """Return view -> (column, type) in the order of the page."""
    views: dict[str, list[tuple[str, str]]] = {}
    for line in (ROOT / "docs" / "schema.md").read_text().splitlines():
        if heading := re.fullmatch(r"#{2,3} (\w+)", line):
            views[heading[1]] = columns = []
        elif row := re.match(r"\| (\w+) \| ([A-Z][\w(),\[\]]*) \|", line):
            columns.append((row[1], row[2]))
    return {view: columns for view, columns in views.items() if columns}


def test_page_and_database_agree(tmp_path: Path) -> None:
    """Same views, same columns, same types, same order."""
    store = Store(tmp_path / "whence.duckdb")
    try:
        with store.cursor() as reader:
            found = {
                view: [(str(name), str(kind)) for name, kind, *_ in reader.rows(f"DESCRIBE {view}")]
                for view in VIEWS
            }
    finally:
        store.close()

    assert found == documented()
