"""A small repository to look at, built by dulwich, and its state as the daemon sees it."""

from __future__ import annotations

import os
from pathlib import Path

from dulwich import porcelain
from dulwich.repo import Repo

from whenced.code_state import CodeReader
from whenced.hash_messages import CodeReply, CodeRequest

AUTHOR = b"A Person <person@example.org>"


def commit(repo: Repo, message: bytes = b"change") -> str:
    """Commit what is staged; return the name of the commit."""
    name: bytes = porcelain.commit(repo, message, author=AUTHOR, committer=AUTHOR)
    return name.decode()


def make_repository(path: Path) -> Path:
    """Make a repository with one commit of three files, on branch main."""
    path.mkdir()
    with Repo.init(str(path), default_branch=b"main") as repo:
        (path / "src").mkdir()
        (path / "train.py").write_text("print(1)\n")
        (path / "src" / "model.py").write_text("class Model: ...\n")
        (path / "run.sh").write_text("exec python train.py\n")
        porcelain.add(repo, [str(path / name) for name in ("train.py", "src/model.py", "run.sh")])
        commit(repo)
    return path


def state(directory: Path, script: Path | None = None) -> CodeReply:
    """Return the state of the repository around `directory` or `script`, ticket 0."""
    name = os.fsencode(script) if script else b""
    return CodeReader().read(CodeRequest(0, os.fsencode(directory), name))


def head_of(path: Path) -> str:
    """Return the name of the commit that is checked out."""
    with Repo(str(path)) as repo:
        return repo.head().decode()


def change_content(work: Path) -> None:
    """Change a tracked file without changing its length."""
    (work / "train.py").write_text("print(2)\n")  # the same length
