"""A control group of the tests' own: jobs run in it, and only it is captured.

So a test neither sees nor stores what belongs to the machine's other services.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What a job finds: the distribution's programs, and no variable of the person who tests.
JOB_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/nonexistent",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns is of Python 3.12


def cgroup2_mount() -> Path:
    """Return where the version 2 hierarchy is mounted; raises AssertionError when nowhere."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, directory, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(directory)
    message = "no cgroup2 is mounted: run tools/setup.sh"
    raise AssertionError(message)


@dataclass(frozen=True, slots=True)
class Scope:
    """A directory of the cgroup v2 hierarchy, and how to start commands in it."""

    directory: Path
    namespaces: tuple[Path, ...] = ()  # that its commands enter (/proc/PID/ns/KIND)

    @classmethod
    def create(cls, name: str, namespaces: tuple[Path, ...] = ()) -> Scope:
        """Make a group below the mount; needs root."""
        directory = cgroup2_mount() / name
        directory.mkdir()
        return cls(directory, namespaces)

    def start(
        self,
        command: Sequence[str],
        cwd: Path,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command in the group and in a session of its own, as ``user`` if given."""
        processes = str(self.directory / "cgroup.procs")
        handles = [os.open(each, os.O_RDONLY | os.O_CLOEXEC) for each in self.namespaces]

        def enter() -> None:
            # Between fork and exec: the command's first instruction is already in scope.
            with open(processes, "w") as members:  # noqa: PTH123 - pathlib allocates more here
                members.write("0")
            for handle in handles:
                if _LIBC.setns(handle, 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            if handles:
                os.chdir(cwd)
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)

        try:
            return subprocess.Popen(
                list(command),
                cwd=None if handles else cwd,
                env={**JOB_ENVIRONMENT, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                preexec_fn=enter,  # noqa: PLW1509 - nothing else enters a group before exec
            )
        finally:
            for handle in handles:
                os.close(handle)

    def run(
        self,
        command: Sequence[str],
        cwd: Path,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command to its end and return its standard output; it has to succeed."""
        with self.start(command, cwd, user, environment) as process:
            output, complaints = process.communicate(timeout=120)

        assert (process.returncode, command) == (0, command), complaints
        return output

    def remove(self) -> None:
        """Kill what is still in the group, nothing else, and remove it."""
        (self.directory / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        while (self.directory / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.directory.rmdir()
