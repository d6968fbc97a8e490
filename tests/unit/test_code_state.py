"""Repositories read as data: what differs, odd shapes, and what limits an answer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dulwich import porcelain
from dulwich.index import IndexEntry
from dulwich.repo import Repo
from tests.unit.sample_repository import change_content, commit, head_of, make_repository, state

from whenced.code_state import CACHE_NS, CodeReader
from whenced.hash_messages import CodeReply, CodeRequest


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "work")


# --- states ----------------------------------------------------------------------------------


def test_a_clean_work_tree(work: Path) -> None:
    assert state(work) == CodeReply(0, str(work), head_of(work), "main")


def test_a_subdirectory_belongs_to_the_work_tree(work: Path) -> None:
    assert state(work / "src").repository == str(work)


def test_the_repository_of_the_script_counts_before_that_of_the_directory(
    work: Path, tmp_path: Path
) -> None:
    Repo.init(str(tmp_path / "other"), mkdir=True).close()

    assert state(tmp_path / "other", work / "src" / "model.py").repository == str(work)


def test_a_script_outside_any_repository_leaves_that_of_the_directory(work: Path) -> None:
    assert state(work, Path("/usr/bin/torchrun")).repository == str(work)


def test_no_repository(tmp_path: Path) -> None:
    assert state(tmp_path) == CodeReply(0)


def append(work: Path) -> None:
    (work / "train.py").write_text("print(1)\n\n")


def delete(work: Path) -> None:
    (work / "train.py").unlink()


def make_executable(work: Path) -> None:
    (work / "train.py").chmod(0o755)


def make_link(work: Path) -> None:
    (work / "train.py").unlink()
    (work / "train.py").symlink_to("run.sh")


def stage(work: Path) -> None:
    append(work)
    porcelain.add(str(work), [str(work / "train.py")])


@pytest.mark.parametrize(
    "change", [change_content, append, delete, make_executable, make_link, stage]
)
def test_any_change_of_a_tracked_file_makes_it_dirty(
    work: Path, change: Callable[[Path], None]
) -> None:
    change(work)
    reply = state(work)

    assert (reply.dirty, reply.modified, reply.incomplete) == (True, ("train.py",), "")


def test_a_staged_new_file_is_modified(work: Path) -> None:
    (work / "new.py").write_text("new\n")
    porcelain.add(str(work), [str(work / "new.py")])

    assert state(work).modified == ("new.py",)


def test_an_untracked_file_is_not_modified(work: Path) -> None:
    (work / "new.py").write_text("new\n")

    assert state(work).dirty is False


def test_a_touched_file_with_the_same_content_is_clean(work: Path) -> None:
    os.utime(work / "train.py")

    assert state(work).dirty is False


def test_same_size_and_time_do_not_hide_a_change_from_ctime(work: Path) -> None:
    times = (work / "train.py").stat()
    change_content(work)
    os.utime(work / "train.py", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert state(work).modified == ("train.py",)


def test_a_replaced_directory_is_not_followed(work: Path) -> None:
    (work / "src").rename(work.parent / "src")
    (work / "src").symlink_to(work.parent / "src")

    assert state(work).modified == ("src/model.py",)


def test_a_large_file_pointer_stands_for_its_content(work: Path) -> None:
    content = b"weights" * 100
    digest = hashlib.sha256(content).hexdigest()
    path = work / "model.bin"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 700\n")
    with Repo(str(work)) as repo:
        porcelain.add(repo, [str(path)])
        commit(repo)
        path.write_bytes(content)
        index = repo.open_index()
        entry = index[b"model.bin"]
        assert isinstance(entry, IndexEntry)
        entry.size = len(content)
        index[b"model.bin"] = entry
        index.write()

    assert state(work).modified == ()


# --- shapes ----------------------------------------------------------------------------------


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    Repo.init(str(tmp_path / "new"), mkdir=True, default_branch=b"trunk").close()
    empty = state(tmp_path / "new")
    (tmp_path / "new" / "a").write_text("a")
    porcelain.add(str(tmp_path / "new"), [str(tmp_path / "new" / "a")])
    staged = state(tmp_path / "new")

    assert empty == CodeReply(0, str(tmp_path / "new"), branch="trunk")
    assert (staged.commit, staged.modified) == ("", ("a",))


def test_a_detached_head_has_no_branch(work: Path) -> None:
    name = head_of(work)
    (work / ".git" / "HEAD").write_text(name + "\n")
    reply = state(work)

    assert (reply.commit, reply.branch, reply.dirty) == (name, "", False)


def test_packed_refs_and_packed_objects(work: Path) -> None:
    name = head_of(work)
    with Repo(str(work)) as repo:
        repo.object_store.pack_loose_objects()
    (work / ".git" / "refs" / "heads" / "main").unlink()
    other = "# pack-refs with: peeled\n" + f"{'1' * 40} refs/heads/main2\n" * 40_000
    (work / ".git" / "packed-refs").write_text(other + f"{name} refs/heads/main\n")
    reply = state(work)

    assert (reply.commit, reply.dirty, reply.incomplete) == (name, False, "")


def test_objects_of_an_alternate(work: Path, tmp_path: Path) -> None:
    borrowed = tmp_path / "objects"
    (work / ".git" / "objects").rename(borrowed)
    info = work / ".git" / "objects" / "info"
    info.mkdir(parents=True)
    (info / "alternates").write_text(f"{borrowed}\n")
    reply = state(work)

    assert (reply.dirty, reply.incomplete) == (False, "")


def test_a_second_work_tree_has_its_own_head(work: Path, tmp_path: Path) -> None:
    second, private = tmp_path / "second", work / ".git" / "worktrees" / "second"
    second.mkdir()
    private.mkdir(parents=True)
    (second / ".git").write_text(f"gitdir: {private}\n")
    (private / "commondir").write_text("../..\n")
    (private / "HEAD").write_text("ref: refs/heads/side\n")
    (work / ".git" / "refs" / "heads" / "side").write_text(head_of(work) + "\n")
    reply = state(second)
    everything = ("run.sh", "src/model.py", "train.py")  # no index: nothing is checked out

    assert (reply.repository, reply.branch) == (str(second), "side")
    assert (reply.commit, reply.modified) == (head_of(work), everything)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ('[extensions]\n\tobjectFormat = "sha256"\n', "object format sha256 is not read"),
        ("[extensions]\nrefStorage=reftable # new\n", "reference format reftable is not read"),
    ],
)
def test_an_unread_format_is_never_called_clean(work: Path, setting: str, reason: str) -> None:
    with (work / ".git" / "config").open("a") as config:
        config.write(setting)
    reply = state(work)

    assert (reply.dirty, reply.modified) == (True, ())
    assert reply.incomplete == f"not all files could be compared: {reason}"


def test_the_remote_loses_its_credentials(work: Path) -> None:
    with (work / ".git" / "config").open("a") as config:
        config.write('[remote "origin"]\n\turl = https://me:secret@host/r.git\n')

    assert state(work).remote == "https://host/r.git"


def test_file_modes_do_not_count_where_git_is_told_so(work: Path) -> None:
    with (work / ".git" / "config").open("a") as config:
        config.write("[core]\n\tfileMode = false\n")
    make_executable(work)

    assert state(work).dirty is False


def test_a_name_that_is_no_text_is_made_readable(work: Path) -> None:
    path = os.fsencode(work) + b"/\xff.py"
    Path(os.fsdecode(path)).write_text("x")
    with Repo(str(work)) as repo:
        repo.get_worktree().stage([b"\xff.py"])

    assert state(work).modified == ("\\xff.py",)


# --- limits ----------------------------------------------------------------------------------


def test_a_state_is_read_once_a_second(work: Path) -> None:
    now_ns = [0]
    reader = CodeReader(lambda: now_ns[0])
    request = CodeRequest(0, os.fsencode(work))
    reader.read(request)
    append(work)
    early = reader.read(request)
    now_ns[0] += CACHE_NS
    later = reader.read(request)

    assert (early.dirty, later.dirty) == (False, True)


def test_what_was_not_compared_in_time_is_not_called_clean(work: Path) -> None:
    clock = iter(range(0, 10**15, 10**10))
    reply = CodeReader(lambda: next(clock)).read(CodeRequest(0, os.fsencode(work)))

    assert (reply.repository, reply.dirty) == (str(work), True)
    assert reply.incomplete == "not all files could be compared in time"


def test_a_long_list_of_modified_files_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "many"
    with Repo.init(str(path), mkdir=True) as repo:
        for n in range(1005):
            (path / f"{n:04}").write_text("x")
        repo.get_worktree().stage([f"{n:04}" for n in range(1005)])
    reply = state(path)

    assert (len(reply.modified), reply.dirty) == (1000, True)
    assert reply.incomplete.endswith("more than 1000 differ, the first are listed")
