"""Control group id to path, in the version 2 hierarchy.

The id that BPF programs see is the inode number of the group's directory (kernfs). May not read
anything but mounts and directory entries.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

# An id that is in no directory (removed, or outside our mount) is looked for again after this.
MISS_S = 5.0
# Removed groups stay known for the records that name them, until there are this many.
KNOWN_MAX = 65_536
_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_point(mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Where the version 2 hierarchy is mounted (its unified place or beside version 1), or None."""
    for line in mounts.read_bytes().splitlines():
        _, target, kind, *_ = line.split(b" ")
        if kind == b"cgroup2":
            # The kernel writes blanks and backslashes in octal.
            return Path(os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), target)))
    return None


class CgroupPaths:
    """Paths by id below ``mount`` (None: the host has no version 2 hierarchy, nothing is known)."""

    def __init__(self, mount: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._mount, self._clock = mount, clock
        self._root_id = mount.stat().st_ino if mount else None
        self._known: dict[int, str] = {}
        self._missed: dict[int, float] = {}

    def path(self, cgroup_id: int) -> str | None:
        """Path from the root of the hierarchy, such as ``/system.slice/cron.service``, or None."""
        if self._mount is None:
            return None
        if cgroup_id == self._root_id:
            return "/"
        known = self._known.get(cgroup_id)
        if known is not None:
            return known
        missed_s = self._missed.get(cgroup_id)
        if missed_s is not None and self._clock() - missed_s < MISS_S:
            return None
        self._walk(self._mount)
        known = self._known.get(cgroup_id)
        if known is None:
            self._missed[cgroup_id] = self._clock()
        return known

    def _walk(self, mount: Path) -> None:
        if len(self._known) + len(self._missed) > KNOWN_MAX:
            self._known, self._missed = {}, {}
        directories = deque([""])
        while directories:
            parent = directories.popleft()
            try:
                with os.scandir(f"{mount}{parent}") as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            path = f"{parent}/{entry.name}"
                            self._known[entry.inode()] = path
                            directories.append(path)
            except OSError:
                continue  # removed meanwhile
