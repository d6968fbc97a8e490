"""Files that are not as committed, as patches that git applies and that hold no secret."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.secrets_corpus import NAMED, TOKENS, leaks

from whenced.code_changes import ChangeReader


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    write(place / "a.py", "x = 1\ny = 2\n")
    for words in (
        ["init", "-q"],
        ["add", "a.py"],
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


def test_a_committed_file_is_no_change(root: int, repository: Path) -> None:
    assert ChangeReader().change(root, b"/repo/a.py") is None
    assert ChangeReader().change(root, b"/elsewhere.py") is None


@pytest.mark.parametrize(
    "content", ["x = 3\ny = 2\n", "x = 1\ny = 2", "", "\n\n", "x = 1\r\ny = 2\r\n", "é = 1\n"]
)
def test_a_patch_restores_what_was_edited(root: int, repository: Path, content: str) -> None:
    """Whatever the lines end with, as git itself applies it."""
    write(repository / "a.py", content)
    change = ChangeReader().change(root, b"/repo/a.py")
    assert change is not None
    subprocess.run(["git", "checkout", "-q", "a.py"], cwd=repository, check=True)
    subprocess.run(
        ["git", "apply", "--whitespace=nowarn"],
        cwd=repository, input=change.difference.encode(), check=True,
    )  # fmt: skip

    assert (repository / "a.py").read_bytes() == content.encode()


def test_a_staged_change_is_one_too(root: int, repository: Path) -> None:
    write(repository / "a.py", "x = 9\n")
    subprocess.run(["git", "add", "a.py"], cwd=repository, check=True)

    change = ChangeReader().change(root, b"/repo/a.py")

    assert change is not None
    assert (change.change, "+x = 9" in change.difference) == ("modified", True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00", "it is no text"),
        (b"a\0b", "it is no text"),
        (b"x\n" * 40_000, "it is larger than 64 KiB"),
        (b"\n" * 5_000, "it has too many lines"),
    ],
)
def test_what_is_no_patch_says_why(
    root: int, repository: Path, content: bytes, reason: str
) -> None:
    write(repository / "new.py", content)

    change = ChangeReader().change(root, b"/repo/new.py")

    assert change is not None
    assert (change.change, change.difference, change.reason) == ("untracked", "", reason)


@pytest.mark.parametrize("name", ["config.yaml", "job.sh", ".env", "train.py"])
def test_no_secret_of_the_corpus_passes_in_a_patch(root: int, repository: Path, name: str) -> None:
    quote = "'" if name.endswith(".py") else ""
    lines = [f"{key}={quote}{value}{quote}" for key, value in NAMED]
    lines += [f"# {token}" for token in TOKENS]
    if name.endswith(".yaml"):
        lines += [f"  {key.lower()}: {value}" for key, value in NAMED]
    write(repository / name, "\n".join(lines))

    change = ChangeReader().change(root, f"/repo/{name}".encode())

    assert change is not None
    assert (leaks(change.difference), change.redacted) == ([], True)
    assert change.difference != ""


def test_the_words_of_models_are_no_secrets(root: int, repository: Path) -> None:
    code = "token = tokenizer.next()\nfor key in keys:\n    d[key] = token\nmax_tokens = 10\n"
    write(repository / "model.py", code)

    change = ChangeReader().change(root, b"/repo/model.py")

    assert change is not None
    assert change.redacted is False


def test_an_edit_is_seen_though_the_file_was_clean_before(root: int, repository: Path) -> None:
    """What was looked up for a clean file is kept, and its stat data vouch for it."""
    reader = ChangeReader()
    clean = [reader.change(root, b"/repo/a.py") for _ in range(2)]
    write(repository / "a.py", "x = 1\ny = 3\n")
    edited = reader.change(root, b"/repo/a.py")

    assert clean == [None, None]
    assert edited is not None
    assert "+y = 3" in edited.difference
