"""Which file was last seen under which name. Pure state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whenced.event import FileKey


class PathIndex:
    """Keys of files by mount namespace and path."""

    def __init__(self) -> None:
        # one table for each namespace: a pair as a key would be an object more for each file
        self._namespaces: dict[int, dict[bytes, FileKey]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))

    def get(self, mount_ns: int, path: bytes) -> FileKey | None:
        """The file that was last seen there."""
        return self._namespaces.get(mount_ns, {}).get(path)

    def put(self, mount_ns: int, path: bytes, key: FileKey) -> None:
        """Say which file stands there."""
        names = self._namespaces.get(mount_ns)
        if names is None:
            names = self._namespaces[mount_ns] = {}
        names[path] = key

    def propose(self, mount_ns: int, path: bytes, key: FileKey) -> None:
        """Say that a file without a name was called that, unless another is."""
        self._namespaces.setdefault(mount_ns, {}).setdefault(path, key)

    def forget(self, mount_ns: int, path: bytes, key: FileKey) -> None:
        """Drop a name, unless another file is called that by now."""
        names = self._namespaces.get(mount_ns, {})
        if names.get(path) == key:
            del names[path]

    def move(
        self, mount_ns: int, old: bytes, new: bytes, *, directory: bool
    ) -> Iterator[tuple[FileKey, bytes]]:
        """Rename a file, or all below a directory; give each file and its new path."""
        names = self._namespaces.get(mount_ns, {})
        moves = [(old, new)]
        if directory:
            prefix = old + b"/"
            moves = [(path, new + path[len(old) :]) for path in names if path.startswith(prefix)]
        for before, after in moves:
            key = names.pop(before, None)
            if key is not None:
                names[after] = key
                yield key, after
