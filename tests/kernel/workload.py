"""The tiny programs below tests/workloads: compiled once in a session, never run from here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "workloads"
_GCC = ("gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread")


@dataclass(frozen=True, slots=True)
class Workloads:
    """The folder of the compiled programs, one for each source."""

    directory: Path

    @classmethod
    def compile(cls, directory: Path) -> Workloads:
        """Compile every source into ``directory``; raises CalledProcessError with gcc's words."""
        for source in SOURCES.glob("*.c"):
            subprocess.run([*_GCC, "-o", directory / source.stem, source], check=True)
        return cls(directory)

    def command(self, program: str, *words: str) -> list[str]:
        """Return the command line of one behaviour: the program, its name, further words."""
        return [str(self.directory / program), *words]


_DISK_BYTES = {"btrfs": 128 << 20, "xfs": 300 << 20}  # the least that mkfs takes; sparse


@contextmanager
def mounted(place: Path, kind: str) -> Iterator[Path]:
    """Mount a new file system of that kind below ``place``; raises CalledProcessError."""
    image, directory = place / "disk.image", place / "disk"
    image.touch()
    os.truncate(image, _DISK_BYTES[kind])
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    directory.mkdir()
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
