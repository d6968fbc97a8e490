"""Arguments of a program read as a person would read them.

Pure: what an interpreter was told to run, and a command as somebody would type it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.resolved import ProcessRow

SHELLS = frozenset({"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"})
INTERPRETER = re.compile(r"^(python|pypy|perl|ruby|node|nodejs|julia|Rscript|lua|php)[\d.]*$")
NAMES_REMEMBERED = 1 << 14  # the same few programs are asked about again and again
COMMAND_LIMIT = 2000  # characters of a command that a run keeps; argv holds the rest

# Options that take the next argument as their value.
_SHELL_VALUE_OPTIONS = frozenset({"-o", "+o", "-O", "+O", "--rcfile", "--init-file"})
_PYTHON_VALUE_OPTIONS = frozenset({"-W", "-X", "--check-hash-based-pycs"})


@dataclass(frozen=True, slots=True)
class Operand:
    """What an interpreter runs: kind is file, module, text or none (interactive or stdin)."""

    kind: str
    text: str
    rest: tuple[str, ...]


NO_OPERAND = Operand("none", "", ())


@lru_cache(maxsize=NAMES_REMEMBERED)
def base_name(path: str | None) -> str:
    """Return the last component of a path, without the dash of a login shell."""
    return path.rstrip("/").rpartition("/")[2].removeprefix("-") if path else ""


def is_shell(row: ProcessRow) -> bool:
    """Tell whether the program is a shell, by its executable or by the name it was called."""
    return base_name(row.exe) in SHELLS or (
        bool(row.argv) and base_name(row.argv[0]) in SHELLS and not _other_interpreter(row)
    )


def _other_interpreter(row: ProcessRow) -> bool:
    return _is_interpreter(row.exe)


@lru_cache(maxsize=NAMES_REMEMBERED)
def _is_interpreter(path: str | None) -> bool:
    return INTERPRETER.match(base_name(path)) is not None


def is_interpreter(row: ProcessRow) -> bool:
    """Tell whether the program runs scripts in a language other than a shell's."""
    return _other_interpreter(row) or (bool(row.argv) and _is_interpreter(row.argv[0]))


def shell_operand(argv: Sequence[str]) -> Operand:
    """Read a shell's arguments: the script file, the text of -c, or none."""
    index, text_next, options = 1, False, True
    while index < len(argv):
        word = argv[index]
        if not options or not word.startswith(("-", "+")) or word == "-":
            kind = "text" if text_next else "file"
            return Operand(kind, word, tuple(argv[index + 1 :])) if word != "-" else NO_OPERAND
        options = word != "--"
        short = word.startswith("-") and not word.startswith("--")
        text_next = text_next or (short and "c" in word[1:])
        reads_input = short and "s" in word[1:] and not text_next
        if reads_input:
            return NO_OPERAND
        index += 2 if word in _SHELL_VALUE_OPTIONS else 1
    return NO_OPERAND


def shell_reads_input(argv: Sequence[str]) -> bool:
    """Tell whether a shell was told with -s to read commands from its standard input."""
    return any(re.fullmatch(r"-[a-z]*s[a-z]*", word) for word in argv[1:])


def shell_forced_interactive(argv: Sequence[str]) -> bool:
    """Tell whether a shell was told with -i to be interactive."""
    return any(re.fullmatch(r"-[a-z]*i[a-z]*", word) for word in argv[1:])


def interpreter_operand(argv: Sequence[str]) -> Operand:
    """Read an interpreter's arguments: the script file, -m module, -c or -e text, or none."""
    index = 1
    while index < len(argv):
        word, rest = argv[index], tuple(argv[index + 2 :])
        if not word.startswith("-"):
            return Operand("file", word, tuple(argv[index + 1 :]))
        if word.startswith("--") or word == "-" or re.match(r"-[WX].", word):
            index += 1
        elif word in _PYTHON_VALUE_OPTIONS:
            index += 2
        elif word[-1] in "me" and index + 1 < len(argv):
            return Operand("module" if word[-1] == "m" else "text", argv[index + 1], rest)
        elif word[-1] == "c" and index + 1 < len(argv):
            return Operand("text", argv[index + 1], rest)
        else:
            index += 1
    return NO_OPERAND


def operand_of(row: ProcessRow) -> Operand:
    """Return what a program's interpreter runs; none for everything that is no interpreter."""
    if is_shell(row):
        return shell_operand(row.argv)
    if is_interpreter(row):
        return interpreter_operand(row.argv)
    return NO_OPERAND


def words_of(row: ProcessRow) -> tuple[str, ...]:
    """Return a command's words beginning with the name of what really runs.

    ``python3 /usr/bin/torchrun x.py`` gives (torchrun, x.py), ``python -m pip list`` (pip, list).
    """
    if is_interpreter(row):
        operand = interpreter_operand(row.argv)
        if operand.kind == "file":
            return (base_name(operand.text), *operand.rest)
        if operand.kind == "module":
            return (operand.text, *operand.rest)
    name = base_name(row.argv[0]) if row.argv else base_name(row.exe)
    return (name or row.command_name or "", *row.argv[1:])


def command_of(row: ProcessRow) -> str:
    """Write a program's arguments as a person would type them.

    The text of ``sh -c`` stands for itself; a script found on PATH loses its folder.
    """
    operand = operand_of(row)
    if is_shell(row) and operand.kind == "text":
        return _shortened(operand.text.strip(), row.arguments_truncated)
    argv = typed_arguments(row)
    if not argv:
        return row.exe or row.command_name or "(unknown program)"
    return _shortened(shlex.join(argv), row.arguments_truncated)


def typed_arguments(row: ProcessRow) -> tuple[str, ...]:
    """Return argv without the interpreter that the kernel put before a script."""
    argv = row.argv
    if row.script and row.script in argv[1:]:
        position = argv.index(row.script, 1)
        on_path = row.script.rpartition("/")[0].endswith("/bin")
        name = base_name(row.script) if on_path else row.script
        return (name, *argv[position + 1 :])
    return argv


def uses_arguments(text: str) -> bool:
    """Tell whether the text of ``sh -c`` only passes on its own arguments."""
    return "$@" in text or "$*" in text or re.match(r"^\s*exec\s+\"?\$0", text) is not None


def _shortened(text: str, cut: bool) -> str:
    if len(text) > COMMAND_LIMIT:
        return text[:COMMAND_LIMIT] + " …"
    return text + " …" if cut else text
