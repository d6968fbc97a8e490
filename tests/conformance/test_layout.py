"""The places that the project promises are there, and nothing private slipped in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.conformance.repository import ROOT

PROMISED = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "bpf/LICENSE",
    "pyproject.toml",
    "Makefile",
    "hatch_build.py",
    ".ci/run",
    "bpf/record.h",
    "bpf/kernel.h",
    "proto/whence_proto/v1/ingest.proto",
    "proto/whence_proto/v1/query.proto",
    "daemon/whenced/__main__.py",
    "collector/whence_collector/__main__.py",
    "client/whence/cli.py",
    "docs/why.md",
    "docs/commands.md",
    "docs/design/0001-the-spine.md",
]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def text_files() -> list[Path]:
    """Return what git tracks or would track, generated and binary files left out."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
    ).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in listed if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


@pytest.mark.parametrize("name", PROMISED)
def test_promised_file_exists(name: str) -> None:
    """A stranger finds it where the documentation says."""
    assert (ROOT / name).is_file()


def test_no_file_names_the_machine_that_wrote_it() -> None:
    """No path of a home or of this checkout stands in the repository."""
    private = re.compile(rf"{re.escape(str(ROOT))}\b|/root/\.\w")
    naming = [
        str(path) for path in text_files() if private.search(path.read_text("utf-8", "replace"))
    ]

    assert naming == []


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links of every page reach a file."""
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in text_files()
        if page.suffix == ".md"
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_kernel_side_is_licensed_for_the_kernel() -> None:
    """Each file that becomes part of the object says under which terms."""
    identifier = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
    sources = [*(ROOT / "bpf").glob("*.h"), *(ROOT / "bpf").glob("*.bpf.c")]

    assert [path.name for path in sources if identifier not in path.read_text()[:200]] == []


def test_continuous_integration_runs_the_same_command() -> None:
    """.ci/run is executable and calls `make test`."""
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111 == 0o111
    assert "make --no-print-directory test" in script.read_text()
