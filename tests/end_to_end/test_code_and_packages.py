"""Which packages a run loaded, and what of its code was not as committed: by the files it read."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import runs_writing
from tests.end_to_end.test_code import git
from tests.scope import Scope

pytestmark = pytest.mark.kernel

TRAIN = """\
import blake3
import steps.clean

with open("settings.yaml") as settings, open("out.txt", "w") as out:
    out.write(settings.read() + steps.clean.NAME)
"""


@pytest.fixture
def edited(place: Path) -> Path:
    """A repository with one commit; a file edited, one untracked, one edited that nobody reads."""
    (place / "steps").mkdir()
    (place / "steps" / "__init__.py").touch()
    (place / "steps" / "clean.py").write_text("NAME = 'first'\nSIZE = 1\n")
    (place / "unused.py").write_text("X = 1\n")
    (place / "train.py").write_text(TRAIN)
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "add", "train.py", "steps", "unused.py")
    git(place, "commit", "--quiet", "--message", "start")
    (place / "steps" / "clean.py").write_text("NAME = 'second'\nSIZE = 1\n")
    (place / "unused.py").write_text("X = 2\n")
    (place / "settings.yaml").write_text("rate: 0.1\napi_key: not-for-your-eyes\n")
    return place


def rows_of(whence: Whence, place: Path, columns: str, view: str) -> set[tuple[Any, ...]]:
    """Return rows of a view for the run that wrote in the folder."""
    found = runs_writing(whence, place, "run_id")
    if len(found) != 1:
        return set()
    ((run_id,),) = found
    query = f"SELECT {columns} FROM {view} WHERE run_id = '{run_id}'"  # noqa: S608 -- our own words
    return {tuple(row.values()) for row in whence.sql(query)}


def test_patch_holds_what_was_read_and_restores_it(
    scope: Scope, whence: Whence, edited: Path, tmp_path: Path
) -> None:
    scope.run([sys.executable, "train.py"], edited)

    ask = partial(rows_of, whence, edited, "path, change, redacted", "run_code_changes")
    expected = {("steps/clean.py", "modified", False), ("settings.yaml", "untracked", True)}
    assert settled(ask, expected) == expected
    patch = "".join(
        text for (text,) in sorted(rows_of(whence, edited, "difference", "run_code_changes"))
    )
    assert "not-for-your-eyes" not in patch
    git(tmp_path, "clone", "--quiet", str(edited), "again")
    again = tmp_path / "again"
    subprocess.run(["git", "apply"], cwd=again, input=patch, text=True, check=True)
    for name in ("steps/clean.py", "unused.py"):
        expected_text = (edited / name).read_text() if "clean" in name else "X = 1\n"
        assert (again / name).read_text() == expected_text
    assert (again / "settings.yaml").read_text().startswith("rate: 0.1\n")


def test_a_module_that_was_imported_from_its_cache_is_compared_by_its_source(
    scope: Scope, whence: Whence, edited: Path
) -> None:
    """The second import reads only the compiled file."""
    subprocess.run([sys.executable, "train.py"], cwd=edited, check=True)
    (edited / "out.txt").unlink()
    scope.run([sys.executable, "train.py"], edited)

    ask = partial(rows_of, whence, edited, "path, change", "run_code_changes")
    expected = {("steps/clean.py", "modified"), ("settings.yaml", "untracked")}
    assert settled(ask, expected) == expected


def test_packages_are_those_that_were_loaded(scope: Scope, whence: Whence, edited: Path) -> None:
    scope.run([sys.executable, "train.py"], edited)

    wanted = "ecosystem, name, version, modified"
    mine = {("pypi", "blake3", metadata.version("blake3"), False)}

    def ask() -> set[tuple[Any, ...]]:
        return mine & rows_of(whence, edited, wanted, "run_packages")

    assert settled(ask, mine) == mine
    found = rows_of(whence, edited, wanted, "run_packages")
    libc = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "libc6"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert ("deb", "libc6", libc, False) in found
    assert not {"numpy", "duckdb", "grpcio"} & {row[1] for row in found}


def test_a_model_of_the_hub_is_named_without_being_read(
    scope: Scope, whence: Whence, place: Path
) -> None:
    """The digest is the name that the cache has for it, and stays asserted."""
    digest, revision = "ab" * 32, "12" * 20
    folder = place / "hub" / "models--org--base"
    for name in ("blobs", f"snapshots/{revision}", "refs"):
        (folder / name).mkdir(parents=True)
    (folder / "blobs" / digest).write_bytes(b"w" * 4096)
    (folder / "snapshots" / revision / "model.safetensors").symlink_to(f"../../blobs/{digest}")
    (folder / "refs" / "main").write_text(revision)
    model = folder / "snapshots" / revision / "model.safetensors"
    (place / "tune.py").write_text(
        f"open('out.txt', 'w').write(str(len(open('{model}', 'rb').read())))"
    )

    scope.run(["python3", "tune.py"], place)

    inputs = partial(rows_of, whence, place, "artifact, artifact_state, class", "run_inputs")
    expected = {(f"sha256:{digest}", "asserted", "model")}
    assert settled(lambda: expected & inputs(), expected) == expected
    where = f"artifact = 'sha256:{digest}'"
    columns = "repository, revision, reference, name"
    origins = whence.sql(f"SELECT {columns} FROM artifact_origins WHERE {where}")  # noqa: S608 -- our own words
    assert origins == [
        {
            "repository": "org/base",
            "revision": revision,
            "reference": "main",
            "name": "model.safetensors",
        }
    ]
    shown = whence("show", f"sha256:{digest}")
    assert shown["artifact"]["digest"] == f"sha256:{digest}"
    (edge,) = [each for each in answer_of(whence, place)["inputs"] if each["origin"]]
    assert edge["origin"] == f"org/base@{revision}:model.safetensors"


def answer_of(whence: Whence, place: Path) -> dict[str, Any]:
    """Return what is told of how out.txt was made."""
    production: dict[str, Any] = whence(place / "out.txt")["productions"][0]
    return production


def test_answers_tell_packages_environment_and_changed_code(
    scope: Scope, whence: Whence, edited: Path
) -> None:
    environment = {"PATH": "/usr/bin:/bin", "MY_SEED": "7", "CLAUDECODE": "1"}
    scope.run([sys.executable, "train.py"], edited, environment=environment)

    def ask() -> tuple[Any, ...]:
        found = runs_writing(whence, edited, "run_id")
        if len(found) != 1:
            return ()
        ((run_id,),) = found
        detail = whence("show", str(run_id))
        packages = {each["name"]: each["version"] for each in detail["packages"]}
        variables = {each["name"]: each["value"] for each in detail["environment"]}
        changes = {each["path"]: each["change"] for each in detail["code_changes"]}
        principal = (detail["run"]["principal_kind"], detail["run"]["principal"])
        return (packages.get("blake3"), variables.get("MY_SEED"), changes, principal)

    expected = (
        metadata.version("blake3"),
        "7",
        {"steps/clean.py": "modified", "settings.yaml": "untracked"},
        ("agent", "claude"),
    )
    assert settled(ask, expected) == expected
    assert "blake3" in {each["name"] for each in answer_of(whence, edited)["packages"]}
    said = whence.run(edited / "out.txt").stdout
    assert f"blake3 {metadata.version('blake3')}" in said
