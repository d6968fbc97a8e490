"""Which code ran, and what of its command line may be kept."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import RAW, Rows, runs_writing, write_job
from tests.scope import Scope

pytestmark = pytest.mark.kernel

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(place: Path, *words: str) -> str:
    """Run git in the folder, outside of what is captured."""
    command = ["git", *AUTHOR, *words]
    return subprocess.run(
        command, cwd=place, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def commit(place: Path) -> str:
    """Make the folder a repository with one commit, and return it."""
    write_job(place, raw_csv=RAW)
    git(place, "init", "--quiet", "--initial-branch", "main")
    git(place, "add", "stage.py")
    git(place, "commit", "--quiet", "--message", "a stage")
    return git(place, "rev-parse", "HEAD")


@pytest.mark.parametrize("dirty", [False, True])
def test_run_knows_its_commit_and_whether_the_tree_differs(
    scope: Scope, whence: Whence, place: Path, commit: str, dirty: bool
) -> None:
    if dirty:
        with (place / "stage.py").open("a") as code:
            code.write("# edited and not committed\n")
    expected: Rows = {(commit, dirty)}

    scope.run(["python3", "stage.py", "out.txt", "raw.csv"], place)

    states = partial(runs_writing, whence, place, "git_commit, git_dirty")
    assert settled(states, expected) == expected


def test_configuration_of_a_repository_is_never_run(
    scope: Scope, whence: Whence, place: Path, commit: str
) -> None:
    """A file-system monitor is a command that git would start, here as root."""
    trap = place / "trap.sh"
    trap.write_text("#!/bin/sh\ntouch sprung\n")
    trap.chmod(0o755)
    with (place / ".git" / "config").open("a") as configuration:
        configuration.write(f"[core]\n\tfsmonitor = {trap}\n\thooksPath = {place}\n")
    expected: Rows = {(commit, False)}

    scope.run(["python3", "stage.py", "out.txt", "raw.csv"], place)

    states = partial(runs_writing, whence, place, "git_commit, git_dirty")
    assert settled(states, expected) == expected
    assert not (place / "sprung").exists()


def test_secret_on_the_command_line_is_nowhere_in_the_data(
    scope: Scope, whence: Whence, place: Path
) -> None:
    secret = "hf_" + "A1b2C3d4E5" * 3 + "q7"
    write_job(place, raw_csv=RAW, use_py="open('out.txt', 'w').write('x')\n")
    command = ["python3", "use.py", "--token", secret]
    expected: Rows = {("python3 use.py --token '[redacted]'",)}

    scope.run(command, place)

    commands = partial(runs_writing, whence, place, "command")
    assert settled(commands, expected) == expected
    kept = [path for path in whence.instance.data_dir.rglob("*") if path.is_file()]
    assert [path.name for path in kept if secret.encode() in path.read_bytes()] == []
