"""Every task of the Makefile has a word of help and stands in the documentation."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.conformance.repository import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = sorted(set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)))


@pytest.mark.parametrize("target", TARGETS)
def test_target_has_help(target: str) -> None:
    """`make help` has a line for it."""
    listing = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), "help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert re.findall(rf"^  make {target} +\S", listing, re.MULTILINE) != []


@pytest.mark.parametrize("target", TARGETS)
def test_target_is_documented(target: str) -> None:
    """CONTRIBUTING.md explains it."""
    documents = (ROOT / "CONTRIBUTING.md").read_text()

    assert f"`make {target}`" in documents


@pytest.mark.parametrize("target", ["up", "down", "demo", "test"])
def test_first_page_names_what_a_newcomer_types(target: str) -> None:
    """README.md has the four that a first visit needs."""
    assert f"make {target}" in (ROOT / "README.md").read_text()


def test_every_target_is_phony() -> None:
    """A file of the same name never hides a task."""
    (declared,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)

    assert sorted(declared.split()) == TARGETS
