"""Doing a recipe again in an empty folder, and grading what comes out.

Acts on this host's files and starts programs, all below the one folder. The decisions are in
reproduce_plan.py and grades.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from whence.content import hash_file
from whence.errors import MissingFileError, RefusedError, UnreadableFileError
from whence.grades import Compared, StepGrade, grade_of_step
from whence.model_ancestry import CodeDifference, Recipe, RecipeInput
from whence.reproduce_plan import (
    CODE,
    Checkout,
    Command,
    Plan,
    is_python,
    names_outside,
    own_folders,
    place_of,
    plan_of,
)

GIT_TIMEOUT_S = 600.0
INSTALL_TIMEOUT_S = 1_800.0
TEXT_BYTES = 4 << 20  # of a program that is looked through for absolute paths
# What a command needs of this host beside what the recipe tells.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME")
_LIST_PACKAGES = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'] or '': d.version for d in m.distributions()}))"
)

Say = Callable[[str], None]


@dataclass(slots=True)
class Done:
    """What was done: what was missing, and the grade of each command."""

    folder: str
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    steps: list[StepGrade] = field(default_factory=list)


def prepare_folder(folder: Path) -> Path:
    """Return the folder, made if need be; raises RefusedError when it holds anything."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RefusedError(f"{folder} is not empty: name a new folder with --into")
    except OSError as error:
        raise RefusedError(
            f"{folder} cannot be used ({error.strerror}): name another folder with --into"
        ) from None
    return folder.resolve()


def reproduce(
    recipe: Recipe, folder: Path, host: str, say: Say, step_timeout_s: float | None = None
) -> Done:
    """Do everything; stops before the first command where something that it needs is missing."""
    plan = plan_of(recipe, str(folder))
    done = Done(str(folder))
    for checkout in plan.checkouts:
        say(f"code: {checkout.repository} at {checkout.commit[:12]}")
        done.remarks += check_out(checkout, str(folder))
    for item in plan.inputs:
        if not fetch(item, str(folder), host):
            (done.remarks if item.file.class_ == "config" else done.missing).append(
                f"{item.file.path} ({(item.file.digest or 'content not known')[:19]}) is nowhere "
                "on this host with that content"
            )
    done.missing += dangers(recipe, str(folder))
    if done.missing:
        return done
    interpreter, remark = environment_for(plan, str(folder), say)
    done.remarks += remark
    for command in plan.commands:
        say(f"run: {command.step.run.command}")
        grade = do(command, str(folder), interpreter, step_timeout_s)
        done.steps.append(grade)
        if 2 <= grade.grade < 5 and not command.step.seeds:
            done.remarks.append(
                f"{command.step.run.command}: no seed was seen in its arguments or variables, so "
                "it may draw other numbers each time"
            )
        if grade.exit_code != 0:
            done.remarks.append(f"{command.step.run.command} ended with {grade.exit_code}")
            break
    return done


# Code -----------------------------------------------------------------------------------------


def check_out(checkout: Checkout, folder: str) -> list[str]:
    """Bring a repository to its commit and put the changes on it; return what did not work."""
    place = place_of(checkout.repository, folder)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    for source in filter(None, (checkout.repository, checkout.remote)):
        shutil.rmtree(place, ignore_errors=True)
        if _git("clone", "--quiet", "--no-checkout", source, place) is None and (
            _git("-C", place, "checkout", "--quiet", checkout.commit) is None
        ):
            break
    else:
        shutil.rmtree(place, ignore_errors=True)
        Path(place).mkdir(parents=True)
        return [
            f"commit {checkout.commit[:12]} of {checkout.repository} was not found there"
            + (f" or at {checkout.remote}" if checkout.remote else "")
            + ": its files are looked for one by one"
        ]
    found = (_apply(change, place) for change in checkout.changes)
    return [remark for remark in found if remark is not None]


def _apply(change: CodeDifference, place: str) -> str | None:
    if change.redacted or not change.difference:
        why = "it held a secret" if change.redacted else change.reason or "it is not known"
        return f"the change of {change.path} was not kept: {why}"
    error = _git("-C", place, "apply", "--whitespace=nowarn", "-", text=change.difference)
    return None if error is None else f"the change of {change.path} does not apply: {error}"


def _git(*words: str, text: str | None = None) -> str | None:
    """Run git without anybody's settings or hooks; return its complaint, None when it worked."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_KEY_1": "core.hooksPath",
        "GIT_CONFIG_VALUE_1": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        ended = subprocess.run(
            ["git", *words],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    complaint = ended.stderr.strip().splitlines()
    return None if ended.returncode == 0 else (complaint[-1] if complaint else "git failed")


# Inputs ---------------------------------------------------------------------------------------


def fetch(item: RecipeInput, folder: str, host: str) -> bool:
    """Put the content of an input into its place, from wherever it still is on this host."""
    target = place_of(item.file.path, folder)
    if item.file.digest is None:
        return item.file.class_ in CODE and Path(target).exists()
    if _holds(target, item.file.digest):
        return True
    here = [place.partition(":")[2] for place in item.seen_at if place.startswith(f"{host}:")]
    for place in dict.fromkeys([item.file.path, *here]):
        if _holds(place, item.file.digest):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            Path(target).unlink(missing_ok=True)
            shutil.copy(place, target)
            # Copied while somebody wrote it: only what is in place counts.
            return _holds(target, item.file.digest)
    return False


def _holds(path: str, digest: str) -> bool:
    try:
        if digest.startswith("sha256:"):
            with Path(path).open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
        return hash_file(path).digest == digest
    except OSError:
        return False
    except (MissingFileError, UnreadableFileError):
        return False


def dangers(recipe: Recipe, folder: str) -> list[str]:
    """Return programs that name the original folders and so would write there."""
    folders = own_folders(recipe)
    found = []
    for item in recipe.inputs:
        path = Path(place_of(item.file.path, folder))
        if item.file.class_ not in CODE or not path.is_file():
            continue
        with path.open("rb") as program:
            text = program.read(TEXT_BYTES).decode("utf-8", "replace")
        named = names_outside(text, folders)
        if named is not None:
            found.append(
                f"{item.file.path} names {named} absolutely: done again it would work on the "
                "original files, so it is not run"
            )
    return found


# Surroundings ---------------------------------------------------------------------------------


def environment_for(plan: Plan, folder: str, say: Say) -> tuple[str | None, list[str]]:
    """Return the Python to use (None: whatever the command names) and what it lacks."""
    wanted = {
        _plain_name(name): version
        for ecosystem, name, version in (package.split(" ", 2) for package in plan.packages)
        if ecosystem == "pypi" and version != "?"
    }
    if not plan.interpreters and not wanted:
        return None, []
    for each in plan.interpreters:
        if Path(each).exists():
            have = _packages(each)
            if all(have.get(name) == version for name, version in wanted.items()):
                return each, []
    return _built(wanted, folder, say)


def _plain_name(name: str) -> str:
    """Return a package's name as the index compares it (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(interpreter: str) -> Mapping[str, str]:
    import json  # noqa: PLC0415  only here

    try:
        ended = subprocess.run(
            [interpreter, "-c", _LIST_PACKAGES],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        found: dict[str, str] = json.loads(ended.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return {_plain_name(name): version for name, version in found.items()}


def _built(wanted: Mapping[str, str], folder: str, say: Say) -> tuple[str | None, list[str]]:
    """Make an environment with the packages as they were."""
    place = Path(folder) / "environment"
    say(f"environment: {len(wanted)} packages")
    python = shutil.which("python3") or sys.executable
    interpreter = str(place / "bin" / "python")
    pins = [f"{name}=={version}" for name, version in sorted(wanted.items())]
    remarks = ["the recorded interpreter is not here as it was: another was set up"]
    for words in (
        [python, "-m", "venv", str(place)],
        [interpreter, "-m", "pip", "install", "--quiet", "--no-deps", *pins] if pins else [],
    ):
        try:
            if words:
                subprocess.run(
                    words, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
                )
        except (OSError, subprocess.SubprocessError) as error:
            text = str(getattr(error, "stderr", "") or error).strip().splitlines()
            return None, [*remarks, f"and that failed: {text[-1] if text else error}"]
    return interpreter, remarks


# Commands -------------------------------------------------------------------------------------


def do(
    command: Command, folder: str, interpreter: str | None, timeout_s: float | None
) -> StepGrade:
    """Run one command and compare what it made."""
    Path(command.cwd).mkdir(parents=True, exist_ok=True)
    for edge in command.outputs:
        Path(place_of(edge.path, folder)).parent.mkdir(parents=True, exist_ok=True)
    argv = list(command.argv)
    if interpreter is not None and argv and is_python(argv[0]):
        argv[0] = interpreter
    log = Path(folder) / "logs" / command.step.run.run_id
    log.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    exit_code = _run(argv, command, _bin_of(folder, interpreter), log, timeout_s)
    took_s = time.monotonic() - began
    compared = [_compare(edge.path, edge.digest or "", folder, log) for edge in command.outputs]
    return grade_of_step(command.step.run.command, exit_code, took_s, compared)


def _run(
    argv: list[str], command: Command, bin_path: str, log: Path, timeout_s: float | None
) -> int:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {k: v for k, v in command.environment.items() if k != "PATH"}
    environment["PATH"] = f"{bin_path}:{environment.get('PATH', os.defpath)}"
    with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
        try:
            return subprocess.run(
                argv,
                cwd=command.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=timeout_s,
                check=False,
            ).returncode
        except FileNotFoundError:
            return 127
        except PermissionError:
            return 126
        except subprocess.TimeoutExpired:
            return 124


def _bin_of(folder: str, interpreter: str | None) -> str:
    """Return a folder for PATH in which python and python3 are the chosen interpreter."""
    place = Path(folder) / "bin"
    place.mkdir(exist_ok=True)
    for name in ("python", "python3") if interpreter is not None else ():
        link = place / name
        if not link.exists():
            # A script and not a link: a virtual environment is found by its own path.
            link.write_text(f'#!/bin/sh\nexec {_shell_quoted(interpreter or "")} "$@"\n')
            link.chmod(0o755)
    return str(place)


def _shell_quoted(text: str) -> str:
    import shlex  # noqa: PLC0415  only here

    return shlex.quote(text)


def _compare(path: str, digest: str, folder: str, log: Path) -> Compared:
    place = place_of(path, folder)
    try:
        found = hash_file(place).digest
    except (MissingFileError, UnreadableFileError):
        # The shell had sent the program's output there; it went into our log instead.
        output = str(log.with_suffix(".out"))
        if _holds(output, digest):
            return Compared(path, digest, digest, original=None, made=output)
        return Compared(path, digest, None, original=None, made=None)
    original = path if found != digest and _holds(path, digest) else None
    return Compared(path, digest, found, original=original, made=place)
