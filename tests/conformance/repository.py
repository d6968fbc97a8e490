"""What the conformance tests look at: the tree's own files, and how they parse."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = {
    "whence_proto": ROOT / "proto" / "whence_proto",
    "whenced": ROOT / "daemon" / "whenced",
    "whence_collector": ROOT / "collector" / "whence_collector",
    "whence": ROOT / "client" / "whence",
}


def generated(path: Path) -> bool:
    """Whether a tool wrote the file."""
    return "_pb2" in path.name


def modules_of(program: str) -> list[Path]:
    """Return the hand-written modules of one import package."""
    return sorted(path for path in PROGRAMS[program].rglob("*.py") if not generated(path))


def all_modules() -> list[Path]:
    """Return every hand-written Python file of the repository."""
    folders = [
        "proto",
        "daemon",
        "collector",
        "client",
        "deploy",
        "tests",
        "tools",
        "bench",
        "demo",
    ]
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [ROOT / "hatch_build.py", *(path for path in found if not generated(path))]


def imports_of(path: Path) -> Iterator[str]:
    """Yield the absolute dotted names that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def packages_imported(path: Path) -> set[str]:
    """Return the first parts of the imported names: their distributions' packages."""
    return {name.partition(".")[0] for name in imports_of(path)}


def relative(path: Path) -> str:
    """Return the path as it reads in a message."""
    return str(path.relative_to(ROOT))
