"""Compiles BPF objects and the collector's walk while the wheel is built, puts libbpf beside them.

A wheel without them would be useless on a GPU host, so a missing clang or
libbpf is an error there; an editable install passes, and `make up` builds later.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# libbpf (LGPL-2.1 OR BSD-2-Clause) and what it needs of elfutils (LGPL-3.0+ OR GPL-2.0+), as the
# distribution built them. zlib and the C library are on every host.
LIBRARIES = ("libbpf.so.1", "libelf.so.1")


class BpfBuildHook(BuildHookInterface):
    """Runs `make -C bpf` in front of the wheel's file collection."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build daemon/whenced/_bpf/capture.bpf.o; ``version`` is "standard" or "editable"."""
        if shutil.which("clang") and shutil.which("llvm-strip"):
            for folder in ("bpf", "collector/native"):
                subprocess.run(["make", "-C", str(Path(self.root) / folder)], check=True)
        elif version != "editable":
            message = "no clang and llvm-strip on PATH: install the packages clang and llvm"
            raise RuntimeError(message)
        carried = Path(self.root) / "daemon" / "whenced" / "_bpf"
        for name in LIBRARIES:
            (carried / name).unlink(missing_ok=True)  # of an earlier build
            if version != "editable":
                shutil.copyfile(library(name), carried / name)
        if version != "editable":
            # It holds code for one processor, but for no particular Python.
            build_data["tag"] = f"py3-none-linux_{platform.machine()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave the tree as it was: there the host's own libbpf is used."""
        for name in LIBRARIES:
            (Path(self.root) / "daemon" / "whenced" / "_bpf" / name).unlink(missing_ok=True)


def library(name: str) -> Path:
    """Find a shared library as the dynamic loader does. Raises RuntimeError."""
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    listed = subprocess.run([ldconfig, "-p"], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        if line.strip().startswith(f"{name} (libc6,x86-64") or (
            platform.machine() != "x86_64" and line.strip().startswith(f"{name} (")
        ):
            return Path(line.rpartition("=> ")[2])
    message = f"no {name} on this machine: install the package libbpf1"
    raise RuntimeError(message)
