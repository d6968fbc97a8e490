"""Compile the fake libnvidia-ml.so.1 and script what it answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

SONAME = "libnvidia-ml.so.1"
SOURCE = Path(__file__).with_suffix(".c")


def compile_fake(directory: Path) -> Path:
    """Compile into a directory; return the library. Raises CalledProcessError with gcc's words."""
    library = directory / SONAME
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
    command += [f"-Wl,-soname,{SONAME}", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


def uuid(number: int) -> str:
    """Return the UUID of the fake GPU of that number."""
    return f"GPU-00000000-0000-0000-0000-{number:012x}"
