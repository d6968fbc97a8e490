"""Fixtures of the kernel tests: the programs are loaded once, the workloads compiled once.

Nothing here skips: a kernel that lacks an ability fails the test that needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.seen import Run, Seen
from tests.kernel.witness import Witness, watching
from tests.kernel.workload import Workloads
from tests.scope import Scope


@pytest.fixture(scope="session")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> Workloads:
    """Compile the workloads into a folder of the session."""
    return Workloads.compile(tmp_path_factory.mktemp("workloads"))


@pytest.fixture(scope="session")
def group() -> Iterator[Scope]:
    """Make a control group for workloads only: nothing else runs in it."""
    scope = Scope.create(f"whence-kernel-{os.getpid()}")
    yield scope
    scope.remove()


@pytest.fixture(scope="session")
def witness(group: Scope) -> Iterator[Witness]:
    """Load and attach the programs for that group."""
    with watching(group) as loaded:
        yield loaded


@pytest.fixture
def run(witness: Witness, workloads: Workloads, place: Path) -> Run:
    """Return ``run(program, behaviour, *words)``: the workload in ``place``, and what was seen."""

    def run_workload(program: str, *words: str) -> Seen:
        return witness.run(workloads.command(program, *words), place)

    return run_workload
