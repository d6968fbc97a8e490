"""A recipe → what to do in an empty folder: where each file goes, each command as it runs there.

Pure. The folder mirrors the host: what was /home/ada/p/x lies at FOLDER/files/home/ada/p/x, so
relative names keep working and absolute ones are rewritten in arguments and variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname, normpath

from whence.model import FileEdge
from whence.model_ancestry import CodeDifference, Recipe, RecipeInput, RecipeStep

FILES = "files"
CODE = ("code", "config")
KEPT = ("data", "model", "config")  # of outputs: what is compared
_INTERPRETER = re.compile(r"^(python|pypy)[\d.]*$")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A repository to bring to a commit; changes are what was not as committed."""

    repository: str  # where it was
    commit: str
    remote: str | None
    changes: tuple[CodeDifference, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One run to do again."""

    step: RecipeStep
    argv: tuple[str, ...]
    cwd: str  # below the folder
    environment: Mapping[str, str]
    outputs: tuple[FileEdge, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything in the order in which it is done; paths are those of the recipe."""

    checkouts: tuple[Checkout, ...]
    inputs: tuple[RecipeInput, ...]
    commands: tuple[Command, ...]
    packages: tuple[str, ...]
    interpreters: tuple[str, ...]  # absolute paths; the first that has the packages is used
    gaps: tuple[str, ...]


def place_of(path: str, folder: str) -> str:
    """Return where a path of the recipe lies below the folder."""
    return f"{folder.rstrip('/')}/{FILES}{normpath('/' + path.lstrip('/'))}"


def plan_of(recipe: Recipe, folder: str) -> Plan:
    """Return what to do."""
    known = _known_folders(recipe)
    commands = tuple(_command(step, folder, known) for step in recipe.steps)
    return Plan(
        checkouts=_checkouts(recipe.steps),
        inputs=recipe.inputs,
        commands=commands,
        packages=tuple(sorted({each for step in recipe.steps for each in step.packages})),
        interpreters=tuple(dict.fromkeys(_interpreters(recipe.steps))),
        gaps=recipe.gaps,
    )


def _interpreters(steps: Sequence[RecipeStep]) -> Iterator[str]:
    """Yield the Pythons that may have been used: as called, by their environments, as executed.

    What was executed is last: a virtual environment's python is a link to one that knows nothing
    of the environment's packages.
    """
    for step in steps:
        if step.argv and step.argv[0].startswith("/") and is_python(step.argv[0]):
            yield step.argv[0]
    for step in steps:
        named = dict(zip(step.environment[::2], step.environment[1::2], strict=True))
        folders = [
            f"{named[name]}/bin" for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if named.get(name)
        ]
        folders += [each for each in named.get("PATH", "").split(":") if each.startswith("/")]
        yield from (f"{folder}/python3" for folder in folders)
    for step in steps:
        for line in step.interpreters:
            if line.startswith(("python ", "pypy ")):
                yield line.rpartition(" ")[2]


def _known_folders(recipe: Recipe) -> frozenset[str]:
    """Folders whose paths are rewritten: of inputs, outputs, repositories, and where it ran."""
    folders = set()
    for step in recipe.steps:
        folders |= {step.run.cwd or "", step.run.git_repository or ""}
        folders |= {dirname(edge.path) for edge in step.outputs}
    folders |= {dirname(item.file.path) for item in recipe.inputs}
    return frozenset(folder for folder in folders if folder.count("/") >= 1 and folder != "/")


def _checkouts(steps: Iterable[RecipeStep]) -> tuple[Checkout, ...]:
    """One for each repository: that of the first run in it, with the changes of all."""
    found: dict[str, Checkout] = {}
    for step in steps:
        root, commit = step.run.git_repository, step.run.git_commit
        if root is None or commit is None:
            continue
        before = found.get(root)
        seen = () if before is None else before.changes
        names = {change.path for change in seen}
        changes = seen + tuple(each for each in step.changes if each.path not in names)
        first = commit if before is None else before.commit
        remote = step.remote if before is None else before.remote or step.remote
        found[root] = Checkout(root, first, remote, changes)
    return tuple(found.values())


def _command(step: RecipeStep, folder: str, known: frozenset[str]) -> Command:
    pairs = zip(step.environment[::2], step.environment[1::2], strict=True)
    return Command(
        step=step,
        argv=tuple(rewritten(word, folder, known) for word in step.argv),
        cwd=place_of(step.run.cwd or "/", folder),
        environment={name: rewritten(value, folder, known) for name, value in pairs},
        outputs=tuple(
            edge for edge in step.outputs
            if edge.class_ in KEPT and not edge.deleted and edge.digest is not None
        ),
    )  # fmt: skip


def rewritten(word: str, folder: str, known: Iterable[str]) -> str:
    """Return a word whose absolute path, if it names one of the known folders, lies below ours."""
    head, equals, value = word.rpartition("=")
    path = value if equals else word
    if not path.startswith("/"):
        return word
    for each in known:
        if path == each or path.startswith(each.rstrip("/") + "/"):
            return f"{head}{equals}{place_of(path, folder)}"
    return word


def is_python(word: str) -> bool:
    """Whether a word calls a Python interpreter by any name."""
    return _INTERPRETER.match(basename(word)) is not None


def names_outside(text: str, folders: Sequence[str]) -> str | None:
    """Return the first of our folders that a program's text names absolutely, None where none.

    Done again it would write there: over the files of whoever ran it first.
    """
    for folder in sorted(folders, key=len, reverse=True):
        if re.search(rf"[\"'\s=(:,]{re.escape(folder)}(/|[\"'\s),]|$)", text):
            return folder
    return None


def own_folders(recipe: Recipe) -> list[str]:
    """Return the folders in which the recipe's runs worked and wrote."""
    folders = {step.run.cwd or "" for step in recipe.steps}
    folders |= {dirname(edge.path) for step in recipe.steps for edge in step.outputs}
    return [folder for folder in folders if folder.count("/") >= 2]
