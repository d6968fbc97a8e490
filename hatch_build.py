"""Compiles the BPF object while the wheel is built.

A wheel without the object would be useless on a GPU host, so a missing clang
is an error there; an editable install passes, and `make up` builds it later.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BpfBuildHook(BuildHookInterface):
    """Runs `make -C bpf` in front of the wheel's file collection."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build daemon/whenced/_bpf/capture.bpf.o; ``version`` is "standard" or "editable"."""
        if shutil.which("clang") and shutil.which("llvm-strip"):
            subprocess.run(["make", "-C", str(Path(self.root) / "bpf")], check=True)
        elif version != "editable":
            message = "no clang and llvm-strip on PATH: install the packages clang and llvm"
            raise RuntimeError(message)
