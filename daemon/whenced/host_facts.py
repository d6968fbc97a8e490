"""What this machine is: system, processor, memory, GPU driver and models, from files alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from whence_proto.v1 import ingest_pb2

_FIRST_VERSION = re.compile(r"\b(\d+\.\d+(?:\.\d+)?)\b")


def host_facts(root: Path = Path("/")) -> ingest_pb2.HostFacts:
    """Return the facts; what cannot be read stays empty.

    The driver's files are those of NVIDIA's kernel module (/proc/driver/nvidia).
    """
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    model = re.search(r"^model name\s*: (.+)$", _text(root / "proc/cpuinfo"), re.M)
    system = re.search(r"^PRETTY_NAME=\"?([^\"\n]*)", _text(root / "etc/os-release"), re.M)
    return ingest_pb2.HostFacts(
        operating_system=system[1] if system else "",
        cpu_model=model[1].strip() if model else "",
        cpu_count=os.cpu_count() or 0,
        memory_bytes=int(memory[1]) << 10 if memory else 0,
        gpu_driver=_driver(_text(root / "proc/driver/nvidia/version")),
        gpu_models=_models(root / "proc/driver/nvidia/gpus"),
    )


def _driver(text: str) -> str:
    """Return the version of ``NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  …``."""
    line = next((line for line in text.splitlines() if line.startswith("NVRM version:")), "")
    found = _FIRST_VERSION.search(line)
    return found[1] if found else ""


def _models(folder: Path) -> list[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    texts = (_text(entry / "information") for entry in entries)
    found = (re.search(r"^Model:\s*(.+)$", text, re.M) for text in texts)
    return [model[1].strip() for model in found if model]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
