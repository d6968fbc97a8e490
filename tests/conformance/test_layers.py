"""The arrows of import: whenced -> whence_proto <- whence_collector, and whence -> whence_proto."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tests.conformance.repository import (
    PROGRAMS,
    all_modules,
    modules_of,
    packages_imported,
    relative,
)

MAY_IMPORT = {
    "whence_proto": {"whence_proto"},
    "whenced": {"whenced", "whence_proto"},
    "whence_collector": {"whence_collector", "whence_proto"},
    "whence": {"whence", "whence_proto"},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_share_nothing_but_the_wire(program: str) -> None:
    """A program imports itself and the wire, never another program."""
    strangers = PROGRAMS.keys() - MAY_IMPORT[program]

    crossings = {
        relative(path): sorted(packages_imported(path) & strangers)
        for path in modules_of(program)
        if packages_imported(path) & strangers
    }

    assert crossings == {}


def test_only_the_store_talks_to_duckdb() -> None:
    """Two modules of the programs import duckdb."""
    users = [
        relative(path)
        for program in PROGRAMS
        for path in modules_of(program)
        if "duckdb" in packages_imported(path)
    ]

    assert users == [
        "collector/whence_collector/database.py",
        "collector/whence_collector/store.py",
    ]


def test_every_module_postpones_its_annotations() -> None:
    """`from __future__ import annotations` stands in each module that defines functions."""
    without = [
        relative(path)
        for path in all_modules()
        if re.search(r"^ *def ", path.read_text(), re.MULTILINE)
        and "__future__" not in packages_imported(path)
    ]

    assert without == []


def test_importing_the_client_is_light() -> None:
    """`import whence` in a training job loads neither gRPC nor the other programs."""
    heavy = ["grpc", "google.protobuf", "duckdb", "numpy", "rich", "whenced", "whence_collector"]
    program = f"import sys, whence; print([name for name in {heavy!r} if name in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert loaded == "[]\n"
