"""The tiny programs below tests/workloads: compiled once in a session, never run from here."""

from __future__ import annotations

import subprocess
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
