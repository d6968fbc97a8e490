"""A folder on this host → the members of its tree. Asks nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from whence.content import hash_file, wire_text
from whence.errors import UnreadableFileError
from whence_proto.tree_digest import Bucket, Member, bucket, buckets_of, name_of, root


def members_of(folder: str, progress: Callable[[int, int], None] | None = None) -> list[Member]:
    """Return the regular files below a folder with their digests, in the order of their names.

    Links to files count as what they lead to; links to folders are not followed. Raises
    UnreadableFileError for what cannot be read, and where the folder holds no file.
    """
    found = []
    for path in _files(folder):
        content = hash_file(path)
        found.append(
            Member(
                wire_text(os.path.relpath(path, folder)),
                bytes.fromhex(content.digest.removeprefix("blake3:")),
                content.size_bytes,
            )
        )
        if progress is not None:
            progress(len(found), 0)
    if not found:
        raise UnreadableFileError(f"{folder} holds no file: ask for a folder that does", 1)
    return found


def _files(folder: str) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise UnreadableFileError(
            f"{error.filename} cannot be read ({error.strerror}): ask as its owner", 4
        )

    for place, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)  # noqa: PTH118 -- names may not be text
            if Path(path).is_file():
                yield path


def tree_of(members: list[Member]) -> tuple[str, dict[int, Bucket]]:
    """Return the digest of a tree as it is written, and its buckets."""
    buckets = {number: bucket(each) for number, each in buckets_of(members).items()}
    return name_of(root(buckets)), buckets
