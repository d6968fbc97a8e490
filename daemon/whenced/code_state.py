"""State of the code a program runs from: commit, branch, remote and which tracked files differ.

Reads a repository as data, in the hasher process: never runs git, a filter or a hook, and
never calls a work tree clean that it could not compare whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from whenced import door, openat
from whenced.code_repository import (
    Configuration,
    Head,
    Repository,
    read_configuration,
    read_head,
    repository_around,
    repository_at,
)
from whenced.git_index import ENTRY_LIMIT, Entry, Index, parse_index
from whenced.git_objects import DamagedError, Deadline, Objects, OutOfTimeError, read_small
from whenced.hash_messages import CodeReply, CodeRequest

LIMIT_NS: Final = 2_000_000_000
CACHE_NS: Final = 1_000_000_000
MODIFIED_LIMIT: Final = 1000
_MODIFIED_TEXT_BYTES: Final = 32 << 10
_INDEX_BYTES: Final = 32 << 20
_BLOB_BYTES: Final = 100_000_000
_TREE_DEPTH: Final = 100
_CHECK_EVERY: Final = 64
_CACHED: Final = 64
_CHUNK_BYTES: Final = 1 << 20
_LOW32: Final = 0xFFFFFFFF
_SECOND_NS: Final = 1_000_000_000

_GITLINK: Final = 0o160000
_TREE: Final = 0o040000
_LFS: Final = b"version https://git-lfs.github.com/spec/v1\n"


class CodeReader:
    """Answers code requests; one repository is read at most once a second."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Start with nothing known."""
        self._clock_ns = clock_ns
        self._known: dict[tuple[int, int, bytes], tuple[int, CodeReply]] = {}

    def read(self, request: CodeRequest) -> CodeReply:
        """Return the state of the repository that holds the script, else of the one around cwd.

        The script first: it is the code that runs, wherever it was started.
        """
        starts = [os.path.dirname(request.script), request.cwd] if request.script else [request.cwd]  # noqa: PTH120 - bytes
        try:
            root = door.open_root(request.pid)
        except OSError:
            return CodeReply(request.ticket)
        try:
            for start in starts:
                with repository_around(root, start) as repository:
                    if repository is not None:
                        return replace(self._state(root, repository), ticket=request.ticket)
        finally:
            os.close(root)
        return CodeReply(request.ticket)

    def _state(self, root: int, repository: Repository) -> CodeReply:
        status = os.fstat(repository.private)
        key = (status.st_dev, status.st_ino, repository.path)
        until_ns, reply = self._known.get(key, (0, None))
        if reply is None or self._clock_ns() >= until_ns:
            reply = read_state(root, repository, Deadline(LIMIT_NS, self._clock_ns))
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[key] = (self._clock_ns() + CACHE_NS, reply)
        return reply


def read_state(root: int, repository: Repository, deadline: Deadline) -> CodeReply:
    """Read and compare one repository within `deadline`; the reply's ticket is 0."""
    configuration = read_configuration(repository)
    comparison = _Comparison()
    head = Head()
    try:
        head = read_head(repository, deadline)
        _compare(root, repository, configuration, head, comparison, deadline)
    except DamagedError as error:
        comparison.incomplete = f"not all files could be compared: {error}"
    except OutOfTimeError:
        comparison.incomplete = "not all files could be compared in time"
    return CodeReply(
        ticket=0,
        repository=_readable(repository.path),
        commit=head.commit,
        branch=head.branch,
        remote=configuration.remote,
        dirty=bool(comparison.modified or comparison.incomplete),
        modified=tuple(sorted(map(_readable, comparison.modified))),
        incomplete=comparison.incomplete,
    )


@dataclass(slots=True)
class _Comparison:
    """What was found so far; survives a comparison that ends early."""

    modified: set[bytes] = field(default_factory=set)
    incomplete: str = ""
    text_bytes: int = 0

    def differs(self, path: bytes) -> None:
        if path in self.modified:
            return
        self.text_bytes += len(path)
        if len(self.modified) >= MODIFIED_LIMIT or self.text_bytes > _MODIFIED_TEXT_BYTES:
            raise DamagedError(f"more than {len(self.modified)} differ, the first are listed")
        self.modified.add(path)


def _compare(
    root: int,
    repository: Repository,
    configuration: Configuration,
    head: Head,
    comparison: _Comparison,
    deadline: Deadline,
) -> None:
    if configuration.unsupported:
        raise DamagedError(configuration.unsupported)
    index, written_ns = read_index(repository)
    try:
        objects = Objects(root, repository.common_path + b"/objects", deadline)
    except OSError as error:
        raise DamagedError(f"the objects cannot be opened ({error.strerror})") from None
    with contextlib.closing(objects):
        worktree = _Worktree(root, repository, configuration, objects, written_ns, deadline)
        for path in worktree.differing(index):
            comparison.differs(path)
        tree = objects.tree_of(bytes.fromhex(head.commit)) if head.commit else b""
        for path in _staged(index, tree, objects, deadline):
            comparison.differs(path)


def read_index(repository: Repository) -> tuple[Index, int]:
    """Return the index and when it was written; an empty one where there is none."""
    try:
        located = openat.locate(repository.private, b"index")
    except FileNotFoundError:
        return Index(), 0
    except OSError as error:
        raise DamagedError(f"the index cannot be opened ({error.strerror})") from None
    try:
        written_ns = os.fstat(located).st_mtime_ns
    finally:
        os.close(located)
    data = read_small(repository.private, b"index", _INDEX_BYTES)
    if data is None:
        raise DamagedError(f"the index is no file of up to {_INDEX_BYTES} bytes")
    return parse_index(data), written_ns


# --- work tree against index -----------------------------------------------------------------


@dataclass(slots=True)
class _Worktree:
    root: int
    repository: Repository
    configuration: Configuration
    objects: Objects
    written_ns: int
    deadline: Deadline
    folder: int = -1
    folder_path: bytes | None = None

    def differing(self, index: Index) -> Iterator[bytes]:
        """Yield the path of each entry that the work tree does not hold as it is."""
        try:
            for number, entry in enumerate(index.entries):
                if number % _CHECK_EVERY == 0:
                    self.deadline.check()
                if self._differs(entry):
                    yield entry.path
        finally:
            self._leave()

    def _differs(self, entry: Entry) -> bool:
        if entry.stage or entry.intended:
            return True
        if entry.unwatched or entry.mode == _TREE:
            return False
        if entry.mode == _GITLINK:
            return self._submodule_differs(entry)
        return self._file_differs(entry)

    def _file_differs(self, entry: Entry) -> bool:
        parent, _, name = entry.path.rpartition(b"/")
        try:
            self._enter(parent)
            status = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return True
        if self._mode_differs(entry.mode, status.st_mode):
            return True
        if unchanged_since(entry, status, self.written_ns):
            return False
        if entry.size_bytes and entry.size_bytes != status.st_size & _LOW32:
            return True
        return self._content_differs(entry, name, status)

    def _enter(self, parent: bytes) -> None:
        """Open a directory once for all its files, without following any link on the way."""
        if parent == self.folder_path:
            return
        self._leave()
        self.folder = openat.locate(self.repository.worktree, parent)
        self.folder_path = parent

    def _leave(self) -> None:
        if self.folder_path is not None:
            os.close(self.folder)
            self.folder_path = None

    def _mode_differs(self, tracked: int, found: int) -> bool:
        if stat.S_IFMT(tracked) != stat.S_IFMT(found):
            return True
        executable = bool(tracked & 0o100) != bool(found & 0o100)
        return executable and stat.S_ISREG(found) and self.configuration.file_mode

    def _content_differs(self, entry: Entry, name: bytes, status: os.stat_result) -> bool:
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=self.folder)
            return _blob_hash(len(target), [target]) != entry.oid
        if status.st_size > _BLOB_BYTES:
            raise DamagedError(f"{_readable(entry.path)} is larger than {_BLOB_BYTES} bytes")
        try:
            fd = openat.open_regular(self.folder, name)
        except OSError:
            return True
        try:
            if _blob_hash(status.st_size, self._chunks(fd)) == entry.oid:
                return False
            return not self._is_large_file(entry, fd)
        except OSError as error:
            name_text = _readable(entry.path)
            raise DamagedError(f"{name_text} cannot be read ({error.strerror})") from None
        finally:
            os.close(fd)

    def _is_large_file(self, entry: Entry, fd: int) -> bool:
        """Say whether the tracked blob is a Git LFS pointer to just this content."""
        try:
            _, blob = self.objects.read(entry.oid)
        except DamagedError:
            return False
        if not blob.startswith(_LFS):
            return False
        digest = hashlib.sha256(usedforsecurity=False)
        for chunk in self._chunks(fd):
            digest.update(chunk)
        return b"oid sha256:" + digest.hexdigest().encode() in blob.split(b"\n")

    def _chunks(self, fd: int) -> Iterator[bytes]:
        offset = 0
        while chunk := os.pread(fd, _CHUNK_BYTES, offset):
            self.deadline.check()
            yield chunk
            offset += len(chunk)

    def _submodule_differs(self, entry: Entry) -> bool:
        path = self.repository.path.rstrip(b"/") + b"/" + entry.path
        with repository_at(self.root, path) as inner:
            if inner is None:
                return False  # not checked out, which git does not call a change either
            return read_head(inner, self.deadline).commit != entry.oid.hex()


def unchanged_since(entry: Entry, status: os.stat_result, written_ns: int) -> bool:
    """Trust stat data as git does: not for a file as young as the index itself."""
    return (
        entry.size_bytes == status.st_size & _LOW32
        and _same_time(entry.mtime_ns, status.st_mtime_ns)
        and (entry.ctime_ns == 0 or _same_time(entry.ctime_ns, status.st_ctime_ns))
        and entry.inode in (0, status.st_ino & _LOW32)
        and entry.mtime_ns < written_ns
    )


def _same_time(tracked_ns: int, found_ns: int) -> bool:
    """Compare times, of which the tracked one may come from a program without nanoseconds."""
    if tracked_ns % _SECOND_NS == 0:
        found_ns -= found_ns % _SECOND_NS
    return tracked_ns == found_ns


def _blob_hash(size_bytes: int, chunks: Iterator[bytes] | list[bytes]) -> bytes:
    digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


# --- index against HEAD ----------------------------------------------------------------------


def _staged(index: Index, tree: bytes, objects: Objects, deadline: Deadline) -> Iterator[bytes]:
    """Yield each path where the index is not what the tree of HEAD (empty: no commit) holds."""
    same: set[bytes] = set()
    committed: dict[bytes, tuple[int, bytes]] = {}
    if tree:
        _gather(objects, tree, b"", index.trees, committed, same)
    deadline.check()
    for entry in index.entries:
        held = committed.pop(entry.path, None)
        if held != (entry.mode, entry.oid) and not _below_any(entry.path, same):
            yield entry.path
    yield from committed


def _below_any(path: bytes, directories: set[bytes]) -> bool:
    at = 0
    while path[:at] not in directories:
        at = path.find(b"/", at) + 1
        if at == 0:
            return False
    return True


def _gather(
    objects: Objects,
    tree: bytes,
    prefix: bytes,
    known: dict[bytes, bytes],
    committed: dict[bytes, tuple[int, bytes]],
    same: set[bytes],
) -> None:
    """Collect the files of a tree, except below directories that the index knows to be the same."""
    if known.get(prefix) == tree:
        same.add(prefix)
        return
    if prefix.count(b"/") > _TREE_DEPTH or len(committed) > ENTRY_LIMIT:
        raise DamagedError("the tree of the commit is too large")
    for name, mode, oid in objects.tree_entries(tree):
        if mode == _TREE:
            _gather(objects, oid, prefix + name + b"/", known, committed, same)
        else:
            committed[prefix + name] = (mode, oid)


def _readable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
