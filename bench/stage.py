"""One whence of the benchmarks' own, which captures one control group, and what it costs.

Starts and stops only that one: data directory, address and control group are new each time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.addresses import free_address
from tests.scope import Scope
from tools.instance import (
    COLLECTOR,
    DAEMON,
    Instance,
    Program,
    bring_down,
    bring_up,
    running,
    start,
    stop,
)

from whence.client import Client
from whence.errors import NotFoundError
from whenced.control import ask

SETTLE_SECONDS = 600.0
_UTIME_AFTER_NAME = 11  # of /proc/PID/stat, counted after the command name


@dataclass(frozen=True, slots=True)
class Stage:
    """A collector, a daemon, its control group, and a folder to work in."""

    instance: Instance
    scope: Scope
    place: Path

    @property
    def daemon(self) -> Program:
        """The daemon with the words that keep it to the control group."""
        return daemon_of(self.instance, self.scope)

    def client(self) -> Client:
        """Return a connection to the collector."""
        return Client(self.instance.address)

    def status(self) -> dict[str, Any]:
        """Return the daemon's own status."""
        return ask(self.instance.data_dir / "daemon" / "whenced.sock", {"do": "status"})

    def run(self, command: Sequence[str], *, captured: bool = True) -> float:
        """Run a command to its end; return its seconds. Raises CalledProcessError."""
        began = time.perf_counter()
        if captured:
            self.scope.run(command, self.place)
        else:
            subprocess.run(list(command), cwd=self.place, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def stop_daemon(self) -> None:
        """Detach all programs: the host as if there were no whence."""
        stop(self.instance, self.daemon)

    def start_daemon(self) -> None:
        """Capture again."""
        start(self.instance, self.daemon)

    def settle(self) -> None:
        """Wait until everything that was captured is hashed, delivered and committed."""
        until(self.is_settled, "the daemon did not deliver what it holds")

    def is_settled(self) -> bool:
        """Whether nothing waits anywhere, now and a second later: what is hashed gives rows."""
        for pause_s in (0.0, 1.0):
            time.sleep(pause_s)
            status = self.status()
            waiting = status.get("held_records", 0) + status["hash_jobs"]
            if waiting or status["spool"]["batches"]:
                return False
        return True

    def pids(self) -> dict[str, int]:
        """Return the process ids of daemon, hasher and collector by those names."""
        daemon, collector = (running(self.instance, each) for each in (DAEMON, COLLECTOR))
        if daemon is None or collector is None:
            raise SystemExit(f"the daemon or the collector ended: see {self.instance.data_dir}/log")
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        (hasher,) = (int(child) for child in children if "hasher" in _command(int(child)))
        return {"daemon": daemon.pid, "hasher": hasher, "collector": collector.pid}

    def sql(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of one SELECT over the stable views."""
        with self.client() as client:
            return [row for piece in client.sql(query, 1_000_000) for row in piece.rows]


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Mount a file system in memory, for jobs whose bare time has to stay the same.

    ext4 without a journal passes over each inode that was deleted in the last five minutes, one
    after the other, when it makes a file (fs/ext4/ialloc.c recently_deleted()): a job whose files
    are removed and made anew takes twice as long after some rounds, watched or not.
    """
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "whence-bench", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def stage(work_below: Path | None = None) -> Iterator[Stage]:
    """Start a collector and a daemon in new folders and a new control group; remove all of it.

    ``work_below`` is where jobs work, by default where the system keeps temporary files.
    """
    scope = Scope.create(f"whence-bench-{os.getpid()}")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
            tempfile.TemporaryDirectory(prefix="whence-bench-", dir=work_below) as work,
        ):
            place = Path(work).resolve()
            instance = Instance(Path(folder).resolve() / "data", free_address())
            instance.data_dir.mkdir()
            settings_of(instance).touch()  # so that the machine's own settings have no say
            bring_up(instance, daemon_of(instance, scope).arguments)
            try:
                yield Stage(instance, scope, place)
            finally:
                bring_down(instance)
    finally:
        scope.remove()


def settings_of(instance: Instance) -> Path:
    """Return the settings file of the benchmarks' daemon."""
    return instance.data_dir / "whenced.toml"


def daemon_of(instance: Instance, scope: Scope) -> Program:
    """Return the daemon that captures one control group."""
    arguments = ("--cgroup", str(scope.directory), "--config", str(settings_of(instance)))
    return Program(DAEMON.name, DAEMON.module, arguments)


def until(done: Callable[[], bool], complaint: str, every_s: float = 0.2) -> None:
    """Wait for a condition; end the benchmark with the complaint after SETTLE_SECONDS."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"{complaint} within {SETTLE_SECONDS:.0f} s: its log tells why")
        time.sleep(every_s)


def is_answered(client: Client, digest: str) -> bool:
    """Whether the content's making is told: the run, its end, and what it was made from."""
    try:
        found = client.find(digest=digest)
    except NotFoundError:
        return False
    return any(
        made.run.status != "running" and any(edge.digest for edge in made.inputs)
        for made in found.productions
    )


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, in user and kernel mode."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = after_name.split()[_UTIME_AFTER_NAME : _UTIME_AFTER_NAME + 2]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
