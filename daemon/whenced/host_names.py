"""What only this host can name: users, control groups, arguments of older processes."""

from __future__ import annotations

from pathlib import Path

from whenced.cgroups import CgroupPaths, mount_point
from whenced.users import UserNames


class HostNames:
    """Implements processes.Names on the running host."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._users = UserNames()
        self._cgroups = CgroupPaths(mount_point())

    def user(self, uid: int) -> str | None:
        """Name of a user id."""
        return self._users.name(uid)

    def cgroup(self, cgroup_id: int) -> str | None:
        """Path of a control group below the root of its hierarchy."""
        return self._cgroups.path(cgroup_id)

    def arguments(self, tgid: int) -> tuple[bytes, ...]:
        """Arguments of a running process; none when it is gone or a kernel thread."""
        raw = self._read(tgid, "cmdline")
        return tuple(raw.removesuffix(b"\0").split(b"\0")) if raw else ()

    def environment(self, tgid: int) -> bytes:
        """Environment block of a running process as it began; empty when it is gone."""
        return self._read(tgid, "environ")

    def _read(self, tgid: int, name: str) -> bytes:
        try:
            return (self._proc / str(tgid) / name).read_bytes()
        except OSError:
            return b""
