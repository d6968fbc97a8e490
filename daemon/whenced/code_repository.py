"""Finding the repository around a directory, and its commit, branch and remote, as data.

Reads small files only; compares nothing and honours no setting that could run a program.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from whenced import openat
from whenced.git_objects import Deadline, read_small
from whenced.redact import strip_credentials

_LEVELS: Final = 64
_SMALL_BYTES: Final = 4096
_CONFIG_BYTES: Final = 1 << 20
_PACKED_REFS_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 20
_SYMREFS: Final = 5
#: What HEAD says where refs are kept in another format.
_REFTABLE: Final = b"refs/heads/.invalid"
_OID: Final = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HEADING: Final = re.compile(r'\[\s*([\w.-]+)\s*(?:"((?:\\.|[^"\\])*)")?\s*\]')


@dataclass(frozen=True, slots=True)
class Repository:
    """Open O_PATH directories of a repository; paths are absolute below its root."""

    path: bytes
    """The work tree."""
    common_path: bytes
    worktree: int
    private: int
    """HEAD and index of this work tree."""
    common: int
    """Objects, refs and configuration, shared between work trees."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out; empty where there is none."""

    commit: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The few settings that matter for reading."""

    remote: str = ""
    file_mode: bool = True
    unsupported: str = ""
    """Names a format that is not read, else empty."""


@contextlib.contextmanager
def repository_around(root: int, directory: bytes) -> Iterator[Repository | None]:
    """Give the innermost repository that holds `directory` (absolute below `root`), or None."""
    with contextlib.ExitStack() as closing:
        candidates = (_repository_at(root, parent, closing) for parent in _upwards(directory))
        there = _exists(root, directory)
        yield next(filter(None, candidates), None) if there else None


@contextlib.contextmanager
def repository_at(root: int, directory: bytes) -> Iterator[Repository | None]:
    """Give the repository whose work tree is exactly `directory`, or None."""
    with contextlib.ExitStack() as closing:
        yield _repository_at(root, directory, closing)


def _exists(root: int, directory: bytes) -> bool:
    """Say whether the path leads somewhere without a link: else its parents mean nothing."""
    try:
        os.close(openat.locate(root, directory))
    except (OSError, ValueError):
        return False
    return True


def _upwards(directory: bytes) -> Iterator[bytes]:
    path = os.path.normpath(b"/" + directory.lstrip(b"/"))
    for _ in range(_LEVELS):
        yield path
        if path == b"/":
            return
        path = path.rpartition(b"/")[0] or b"/"


def _repository_at(root: int, directory: bytes, closing: contextlib.ExitStack) -> Repository | None:
    try:
        worktree = _opened(root, directory, closing)
        entry = _opened(worktree, b".git", closing)
        status = os.fstat(entry)
        private_path = directory.rstrip(b"/") + b"/.git"
        if stat.S_ISREG(status.st_mode):
            private_path = _pointed(worktree, b".git", directory, b"gitdir: ")
        if not private_path:
            return None
        private = _opened(root, private_path, closing)
        common_path = _pointed(private, b"commondir", private_path) or private_path
        common = _opened(root, common_path, closing)
        os.stat("objects", dir_fd=common, follow_symlinks=False)
    except (OSError, ValueError):
        return None
    # As git's safe.directory: a file that points into somebody else's repository would show
    # its owner what only that other user may read.
    owners = {status.st_uid, os.fstat(private).st_uid, os.fstat(common).st_uid}
    if len(owners) > 1 or read_small(private, b"HEAD", _SMALL_BYTES) is None:
        return None
    return Repository(directory, common_path, worktree, private, common)


def _opened(directory: int, path: bytes, closing: contextlib.ExitStack) -> int:
    fd = openat.locate(directory, path)
    closing.callback(os.close, fd)
    return fd


def _pointed(directory: int, name: bytes, base: bytes, prefix: bytes = b"") -> bytes:
    """Return the absolute path that a small file names, empty when there is no such file."""
    text = read_small(directory, name, _SMALL_BYTES) or b""
    if not text.startswith(prefix) or not text.strip():
        return b""
    target = text[len(prefix) :].strip(b"\r\n")
    return os.path.normpath(os.path.join(base, target))  # noqa: PTH118 - paths are bytes


# --- refs ------------------------------------------------------------------------------------


def read_head(repository: Repository, deadline: Deadline) -> Head:
    """Return commit and branch; the commit is empty before the first one. May run out of time."""
    name, branch = b"HEAD", ""
    for _ in range(_SYMREFS):
        value = _ref(repository, name, deadline)
        if not value.startswith(b"ref:"):
            return Head(value.decode() if _OID.fullmatch(value) else "", branch)
        name = value[4:].strip()
        if name == _REFTABLE:
            break
        branch = branch or _readable(name.removeprefix(b"refs/heads/"))
    return Head("", branch)


def _ref(repository: Repository, name: bytes, deadline: Deadline) -> bytes:
    if name != b"HEAD" and not name.startswith(b"refs/"):
        return b""
    for directory in (repository.private, repository.common):
        value = read_small(directory, name, _SMALL_BYTES)
        if value is not None:
            return value.strip()
    return _packed_ref(repository.common, name, deadline)


def _packed_ref(common: int, name: bytes, deadline: Deadline) -> bytes:
    """Search packed-refs piece by piece: it may have millions of lines, or be a trap."""
    try:
        fd = openat.open_regular(common, b"packed-refs", links_inside=True)
    except OSError:
        return b""
    wanted, carried = b" " + name + b"\n", b"\n"
    try:
        for offset in range(0, _PACKED_REFS_BYTES, _CHUNK_BYTES):
            deadline.check()
            data = os.pread(fd, _CHUNK_BYTES, offset)
            window = carried + data
            at = window.find(wanted)
            if at > 0:
                return window[:at].rpartition(b"\n")[2]
            if not data:
                break
            carried = window[-(len(wanted) + 128) :]
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b""


def _readable(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


# --- configuration ---------------------------------------------------------------------------


def read_configuration(repository: Repository) -> Configuration:
    """Read the repository's own configuration; includes are not followed."""
    text = read_small(repository.common, b"config", _CONFIG_BYTES) or b""
    values = _settings(text.decode("utf-8", "backslashreplace"))
    hashing = values.get("extensions..objectformat", "sha1").lower()
    references = values.get("extensions..refstorage", "files").lower()
    unsupported = ""
    if hashing != "sha1":
        unsupported = f"object format {hashing} is not read"
    elif references != "files":
        unsupported = f"reference format {references} is not read"
    file_mode = values.get("core..filemode", "true").lower() not in ("false", "no", "off", "0")
    remote = strip_credentials(values.get("remote.origin.url", ""))
    return Configuration(remote, file_mode, unsupported)


def _settings(text: str) -> dict[str, str]:
    """Return section.subsection.key → last value; sections and keys in lower case."""
    values: dict[str, str] = {}
    section = subsection = ""
    for line in text.replace("\\\n", "").splitlines():
        rest = line.strip()
        if heading := _HEADING.match(rest):
            section, subsection = heading[1].lower(), heading[2] or ""
            rest = rest[heading.end() :].strip()
        key, _, value = rest.partition("=")
        if key and key[0] not in "#;":
            values[f"{section}.{subsection}.{key.strip().lower()}"] = _bare(value)
    return values


def _bare(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        return value[1:].partition('"')[0]
    return re.split(r"\s[#;]", value, maxsplit=1)[0].strip()
