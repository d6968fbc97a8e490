"""Size and naming of modules: what a reader can hold in the head, under a name that says it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conformance.repository import all_modules, relative

MODULE_LINES = 400
FUNCTION_LINES = 60
# Names that say "everything that had no place".
FORBIDDEN = {"utils", "util", "helpers", "manager", "common", "base", "service"}


def functions_of(path: Path) -> list[tuple[str, int]]:
    """Return (name, lines) of each function in a module."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_modules_stay_short() -> None:
    """No module reaches 400 lines."""
    lines = {relative(path): len(path.read_text().splitlines()) for path in all_modules()}

    assert {name: count for name, count in lines.items() if count >= MODULE_LINES} == {}


def test_functions_stay_short() -> None:
    """No function is longer than 60 lines."""
    long_ones = {
        f"{relative(path)}:{name}": count
        for path in all_modules()
        for name, count in functions_of(path)
        if count > FUNCTION_LINES
    }

    assert long_ones == {}


def test_modules_have_telling_names() -> None:
    """No module or folder is a place for leftovers."""
    vague = [
        relative(path)
        for path in all_modules()
        if FORBIDDEN & {path.stem, *Path(relative(path)).parent.parts[-2:]}
    ]

    assert vague == []


def test_modules_say_what_they_do() -> None:
    """Each module that holds code opens with a docstring."""
    silent = [
        relative(path)
        for path in all_modules()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]

    assert silent == []
