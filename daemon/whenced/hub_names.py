"""What a file in a Hugging Face cache is, by the names of the cache alone: no byte is read.

Layout (huggingface_hub, "Understand caching"): ``models--ORG--NAME/`` holds ``blobs/HASH``,
``snapshots/REVISION/FILE`` (links to blobs, or files) and ``refs/BRANCH`` (the revision's name).
A blob is called by its SHA-256 where it is a large file, else by its git object id.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from whenced import openat
from whenced.git_objects import read_small

_PLACE: Final = re.compile(
    rb"(?P<folder>.*/(?P<kind>model|dataset|space)s--(?P<name>[^/]+))/"
    rb"(?:blobs/(?P<blob>[0-9a-f]{40,64})(?:\.incomplete)?|"
    rb"snapshots/(?P<revision>[0-9a-f]{6,64})/(?P<file>.+))\Z",
    re.DOTALL,
)
_SHA256_BLOB: Final = re.compile(
    rb".*/(?:model|dataset|space)s--[^/]+/blobs/([0-9a-f]{64})\Z", re.DOTALL
)
_REVISIONS_LIMIT: Final = 100
_LINKS_LIMIT: Final = 20_000
_DEPTH: Final = 8
_SMALL_BYTES: Final = 4096


class HubName(NamedTuple):
    """A file of a repository of the hub; empty texts where the cache does not tell."""

    kind: str
    repository: str
    revision: str
    reference: str
    name: str


def is_hub(path: bytes) -> bool:
    """Say whether a path lies in the cache of a repository."""
    return b"s--" in path and _PLACE.match(path) is not None


def sha256_of_blob(path: bytes) -> bytes | None:
    """Return the digest that a blob's name asserts, None where the name is none."""
    found = _SHA256_BLOB.match(path) if b"/blobs/" in path else None
    return bytes.fromhex(found[1].decode()) if found else None


def hub_name(root: int, path: bytes) -> HubName | None:
    """Return the name of the file at `path` below the directory `root`, None for other files.

    Of several revisions that hold a blob, the one that a branch names counts, else the newest.
    Raises OSError when the cache cannot be read.
    """
    found = _PLACE.match(path)
    if found is None:
        return None
    folder = openat.locate(root, found["folder"])
    try:
        references = dict(_references(folder))
        revision, name = found["revision"] or b"", found["file"] or b""
        if found["blob"]:
            revision, name = _snapshot_of(folder, found["blob"], references)
    finally:
        os.close(folder)
    # Names of organisations and of repositories hold no double dash.
    repository = found["name"].replace(b"--", b"/", 1)
    texts = (found["kind"], repository, revision, references.get(revision, b""), name)
    return HubName(*(text.decode("utf-8", "backslashreplace") for text in texts))


def _references(folder: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (revision, branch or tag), main last so that it wins."""
    try:
        refs = openat.locate(folder, b"refs")
    except OSError:
        return
    try:
        found = [(path, kind) for path, kind in _walk(refs, b"", 0) if kind == stat.S_IFREG]
        for path, _ in sorted(found, key=lambda each: each[0] == b"main"):
            revision = read_small(refs, path, _SMALL_BYTES)
            if revision is not None:
                yield revision.strip(), path
    finally:
        os.close(refs)


def _snapshot_of(folder: int, blob: bytes, references: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return (revision, file) of a link to the blob; empty where no snapshot has one."""
    try:
        snapshots = openat.locate(folder, b"snapshots")
    except OSError:
        return b"", b""
    try:
        names = _listed(snapshots)
        newest = sorted(names, key=lambda name: (name in references, _mtime_ns(snapshots, name)))
        for revision in newest[: -_REVISIONS_LIMIT - 1 : -1]:
            for path, kind in _walk(snapshots, revision, 0):
                if kind == stat.S_IFLNK and _target(snapshots, path) == blob:
                    return revision, path[len(revision) + 1 :]
    finally:
        os.close(snapshots)
    return b"", b""


def _target(folder: int, path: bytes) -> bytes:
    try:
        return os.readlink(path, dir_fd=folder).rpartition(b"/")[2]
    except OSError:
        return b""


def _mtime_ns(folder: int, name: bytes) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def _walk(folder: int, below: bytes, depth: int) -> Iterator[tuple[bytes, int]]:
    """Yield (path, type) of what lies below, following no link."""
    for count, name in enumerate(_listed(folder, below)):
        path = below + b"/" + name if below else name
        try:
            kind = stat.S_IFMT(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            continue
        if kind == stat.S_IFDIR and depth < _DEPTH:
            yield from _walk(folder, path, depth + 1)
        else:
            yield path, kind
        if count > _LINKS_LIMIT:
            return


def _listed(folder: int, below: bytes = b"") -> list[bytes]:
    try:
        return openat.names_in(folder, below)
    except OSError:
        return []
