"""What a tool makes is what is committed, and comes out the same anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conformance.repository import ROOT


def build_object(sources: Path, target: Path) -> bytes:
    """Return the BPF object that the sources in a folder compile to."""
    command = ["make", "-C", str(sources), f"OBJECT={target}"]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def test_the_wire_is_generated_from_its_proto_files() -> None:
    """The committed Python equals what the pinned generator writes now."""
    check = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gen_proto.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (check.returncode, "stale" in check.stderr) == (0, False)


def test_the_object_is_the_same_from_any_folder(tmp_path: Path) -> None:
    """A privileged program can be rebuilt and compared, bit for bit."""
    elsewhere = tmp_path / "a folder of another length" / "bpf"
    shutil.copytree(ROOT / "bpf", elsewhere)

    here = build_object(ROOT / "bpf", tmp_path / "here.o")

    assert build_object(elsewhere, tmp_path / "there.o") == here


def test_the_object_names_no_folder_of_the_builder(tmp_path: Path) -> None:
    """Line information holds paths inside the repository only."""
    built = build_object(ROOT / "bpf", tmp_path / "capture.bpf.o")

    assert str(ROOT).encode() not in built


def test_the_wire_page_is_written_from_the_proto_files() -> None:
    """docs/wire.md equals what its tool writes now."""
    check = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "wire_doc.py"), "--check"], check=False
    )

    assert check.returncode == 0
