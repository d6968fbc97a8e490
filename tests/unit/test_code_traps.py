"""Repositories that somebody hostile prepared: no hang, no crash, nothing run, never "clean"."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.sample_repository import change_content, make_repository, state

from whenced.hash_messages import CodeReply


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "work")


def fifo_head(git: Path) -> None:
    (git / "HEAD").unlink()
    os.mkfifo(git / "HEAD")


def looping_head(git: Path) -> None:
    (git / "HEAD").unlink()
    (git / "HEAD").symlink_to("HEAD")


def no_objects(git: Path) -> None:
    (git / "objects").rename(git / "gone")


def loop_of_directories(git: Path) -> None:
    git.rename(git.with_name("real"))
    git.symlink_to(".git")


def pointer_to_nothing(git: Path) -> None:
    git.rename(git.with_name("real"))
    git.write_text("gitdir: /nowhere\n")


def pointer_of_garbage(git: Path) -> None:
    git.rename(git.with_name("real"))
    git.write_bytes(b"\0\xff" * 50_000)


@pytest.mark.parametrize(
    "trap",
    [
        fifo_head,
        looping_head,
        no_objects,
        loop_of_directories,
        pointer_to_nothing,
        pointer_of_garbage,
    ],
)
def test_what_is_no_repository_gives_none(work: Path, trap: Callable[[Path], None]) -> None:
    trap(work / ".git")

    assert state(work) == CodeReply(0)


def test_a_pointer_into_the_repository_of_another_user_gives_none(
    work: Path, tmp_path: Path
) -> None:
    snoop = tmp_path / "snoop"
    snoop.mkdir()
    (snoop / ".git").write_text(f"gitdir: {work / '.git'}\n")
    os.chown(work / ".git", 12345, -1)

    assert state(snoop) == CodeReply(0)


def test_no_program_that_a_repository_names_is_run(work: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    program.chmod(0o755)
    (work / ".gitattributes").write_text("* filter=trap diff=trap\n")
    with (work / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {program}\n\tpager = {program}\n")
        config.write(f'[filter "trap"]\n\tclean = {program}\n\tprocess = {program}\n')
        config.write(f'[diff "trap"]\n\ttextconv = {program}\n')
    hook = work / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(program)
    change_content(work)
    reply = state(work)

    assert (reply.modified, proof.exists()) == (("train.py",), False)


def garbage_index(git: Path) -> None:
    (git / "index").write_bytes(os.urandom(5000))


def cut_index(git: Path) -> None:
    (git / "index").write_bytes((git / "index").read_bytes()[:100])


def boasting_index(git: Path) -> None:
    data = bytearray((git / "index").read_bytes())
    data[8:12] = b"\xff\xff\xff\xff"
    (git / "index").write_bytes(data)


def fifo_index(git: Path) -> None:
    (git / "index").unlink()
    os.mkfifo(git / "index")


def huge_index(git: Path) -> None:
    os.truncate(git / "index", 10 << 30)


def damaged_objects(git: Path) -> None:
    for path in (git / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(b"\x78\x9c" + os.urandom(50))


def bomb_objects(git: Path) -> None:
    bomb = zlib.compress(b"tree 9\0" + bytes(64 << 20), 9)
    for path in (git / "objects").glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(bomb)


def huge_packed_refs(git: Path) -> None:
    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").touch()
    os.truncate(git / "packed-refs", 10 << 30)


def fifo_file(git: Path) -> None:
    (git.parent / "train.py").unlink()
    os.mkfifo(git.parent / "train.py")


def looping_refs(git: Path) -> None:
    (git / "refs" / "heads" / "main").write_text("ref: refs/heads/main\n")


@pytest.mark.parametrize(
    "trap",
    [
        garbage_index,
        cut_index,
        boasting_index,
        fifo_index,
        huge_index,
        damaged_objects,
        bomb_objects,
        huge_packed_refs,
        fifo_file,
        looping_refs,
    ],
)
def test_a_damaged_repository_is_never_called_clean(
    work: Path, trap: Callable[[Path], None]
) -> None:
    trap(work / ".git")
    reply = state(work)

    assert (reply.repository, reply.dirty) == (str(work), True)
