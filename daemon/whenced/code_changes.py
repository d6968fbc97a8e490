"""How a file that a program read differs from the commit: as a patch, read as data.

Runs in the hasher process. Runs no git, no filter, no text conversion; secrets are replaced before
the texts are compared, so that no line of a patch holds one.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from whenced import openat
from whenced.code_repository import Repository, read_configuration, read_head, repository_around
from whenced.code_state import read_index, unchanged_since
from whenced.git_index import Entry
from whenced.git_objects import DamagedError, Deadline, Objects, OutOfTimeError, read_small
from whenced.redact import redact_file

TEXT_LIMIT_BYTES: Final = 64 << 10
_LINES_LIMIT: Final = 4_000
_CONTEXT_LINES: Final = 3
_LIMIT_NS: Final = 2_000_000_000
_KEPT: Final = 8
_TREE: Final = 0o040000
#: Files whose values need no quotes.
_SETTINGS: Final = re.compile(
    rb"(?i).*(\.(ya?ml|toml|ini|cfg|conf|env|properties|sh|bash|mk|json)|/\.env[^/]*|/makefile)\Z"
)

MODIFIED, UNTRACKED = "modified", "untracked"


class Change(NamedTuple):
    """A file that is not as committed; empty texts where there is none to tell."""

    repository: str
    path: str  # relative to it
    change: str  # MODIFIED or UNTRACKED
    commit: str
    difference: str
    reason: str
    redacted: bool


@dataclass(slots=True)
class _State:
    """What one repository looked like when its index and HEAD were read."""

    commit: str
    entries: dict[bytes, Entry]
    written_ns: int = 0  # of the index
    trees: dict[bytes, dict[bytes, tuple[int, bytes]]] = field(default_factory=dict)
    committed: dict[bytes, bytes | None] = field(default_factory=dict)  # ids that were looked up


class ChangeReader:
    """Compares single files with their repositories, whose newest few states are remembered."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._states: dict[tuple[object, ...], _State] = {}

    def change(self, root: int, path: bytes) -> Change | None:
        """Return how the file at `path` below `root` differs, None where it does not.

        Also None outside of any repository. Raises OSError when the file cannot be read.
        """
        deadline = Deadline(_LIMIT_NS)
        with repository_around(root, path.rpartition(b"/")[0]) as repository:
            if repository is None:
                return None
            relative = path[len(repository.path.rstrip(b"/")) + 1 :]
            if relative.startswith(b".git/"):
                return None
            try:
                return self._compared(root, repository, relative, deadline)
            except (DamagedError, OutOfTimeError) as error:
                reason = str(error) or "it could not be compared in time"
                return _told(repository, relative, MODIFIED, "", reason=reason)

    def _compared(
        self, root: int, repository: Repository, relative: bytes, deadline: Deadline
    ) -> Change | None:
        state = self._state(repository, deadline)
        if relative not in state.entries:
            new = _text(repository, relative)
            return _difference(repository, relative, UNTRACKED, state.commit, "", new)
        entry = state.entries[relative]
        known = state.committed.get(relative)
        if known == entry.oid and _is_as_added(repository, relative, entry, state.written_ns):
            return None
        objects = Objects(root, repository.common_path + b"/objects", deadline)
        with contextlib.closing(objects):
            oid = state.committed[relative] = _committed(objects, state, relative)
            if oid is not None and _is_blob(repository, relative, oid):
                return None
            old = objects.read(oid)[1] if oid is not None else b""
        new = _text(repository, relative)
        return _difference(repository, relative, MODIFIED, state.commit, old, new)

    def _state(self, repository: Repository, deadline: Deadline) -> _State:
        head = read_head(repository, deadline)
        try:
            status = os.stat("index", dir_fd=repository.private, follow_symlinks=False)
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = (0, 0, 0, 0)
        key = (repository.path, head.commit, stamp)
        state = self._states.pop(key, None)
        if state is None:
            unsupported = read_configuration(repository).unsupported
            if unsupported:
                raise DamagedError(unsupported)
            index, written_ns = read_index(repository)
            entries = {entry.path: entry for entry in index.entries}
            state = _State(head.commit, entries, written_ns)
        self._states[key] = state
        while len(self._states) > _KEPT:
            del self._states[next(iter(self._states))]
        return state


def _is_as_added(repository: Repository, relative: bytes, entry: Entry, written_ns: int) -> bool:
    """Trust stat data as git does: not for a file as young as the index itself."""
    located = openat.locate(repository.worktree, relative)
    try:
        status = os.fstat(located)
    finally:
        os.close(located)
    return unchanged_since(entry, status, written_ns)


def _committed(objects: Objects, state: _State, relative: bytes) -> bytes | None:
    """Return the id of the file in the tree of the commit, None where it is not there."""
    if not state.commit:
        return None
    tree = objects.tree_of(bytes.fromhex(state.commit))
    *folders, name = relative.split(b"/")
    for folder in folders:
        mode, tree = _entries(objects, state, tree).get(folder, (0, b""))
        if mode != _TREE:
            return None
    mode, oid = _entries(objects, state, tree).get(name, (0, b""))
    return oid if stat.S_ISREG(mode) else None


def _entries(objects: Objects, state: _State, tree: bytes) -> dict[bytes, tuple[int, bytes]]:
    known = state.trees.get(tree)
    if known is None:
        known = {name: (mode, oid) for name, mode, oid in objects.tree_entries(tree)}
        state.trees[tree] = known
    return known


def _is_blob(repository: Repository, relative: bytes, oid: bytes) -> bool:
    fd = openat.open_regular(repository.worktree, relative)
    with os.fdopen(fd, "rb") as file:
        size_bytes = os.fstat(fd).st_size
        digest = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest() == oid


def _text(repository: Repository, relative: bytes) -> bytes | None:
    """Return the file's bytes, None when they are more than a patch may hold."""
    return read_small(repository.worktree, relative, TEXT_LIMIT_BYTES)


def _difference(
    repository: Repository,
    relative: bytes,
    change: str,
    commit: str,
    old: bytes | str,
    new: bytes | None,
) -> Change:
    if new is None or len(old) > 4 * TEXT_LIMIT_BYTES:
        reason = f"it is larger than {TEXT_LIMIT_BYTES >> 10} KiB"
        return _told(repository, relative, change, commit, reason=reason)
    try:
        before = old if isinstance(old, str) else old.decode("utf-8")
        after = new.decode("utf-8")
    except UnicodeDecodeError:
        return _told(repository, relative, change, commit, reason="it is no text")
    if "\0" in before or "\0" in after:
        return _told(repository, relative, change, commit, reason="it is no text")
    settings = _SETTINGS.match(b"/" + relative) is not None
    shown = [redact_file(text, settings=settings) for text in (before, after)]
    name = relative.decode("utf-8", "backslashreplace")
    if max(text.count("\n") for text in shown) > _LINES_LIMIT:
        return _told(repository, relative, change, commit, reason="it has too many lines")
    patch = unified(name, *shown, is_new=change == UNTRACKED)
    return _told(
        repository, relative, change, commit, difference=patch, redacted=shown != [before, after]
    )


def _told(
    repository: Repository, relative: bytes, change: str, commit: str, *,
    difference: str = "", reason: str = "", redacted: bool = False,
) -> Change:  # fmt: skip
    return Change(
        repository.path.decode("utf-8", "backslashreplace"),
        relative.decode("utf-8", "backslashreplace"),
        change,
        commit,
        difference,
        reason,
        redacted,
    )


def unified(name: str, before: str, after: str, *, is_new: bool) -> str:
    """Return the difference of two texts as ``git apply`` takes it."""
    head = [f"diff --git a/{name} b/{name}\n"]
    if is_new:
        head.append("new file mode 100644\n")
    source = "/dev/null" if is_new else f"a/{name}"
    lines = list(
        difflib.unified_diff(
            _lines(before), _lines(after), source, f"b/{name}", n=_CONTEXT_LINES, lineterm="\n"
        )
    )
    marked = (
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
    )
    return "".join([*head, *marked])


def _lines(text: str) -> list[str]:
    """Return lines as git counts them: only a line feed ends one."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
