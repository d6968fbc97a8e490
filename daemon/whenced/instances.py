"""Who else is whence on this host: one small file for each process, so that none records another.

May not decide what is left out of capture; the caller does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

REGISTRY = Path("/run/whence/instances")
# Field 22 of /proc/PID/stat counts in these (10 ms on every Linux that we know).
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Instances:
    """The registry; files are named by process id and hold the start in boot ns.

    ``registry`` and ``proc`` are the roots that are looked at.
    """

    def __init__(self, registry: Path = REGISTRY, proc: Path = Path("/proc")) -> None:
        self._registry, self._proc = registry, proc

    def announce(self, pid: int | None = None) -> None:
        """Enter a process (this one). Raises OSError when the registry cannot be written."""
        pid = os.getpid() if pid is None else pid
        self._registry.mkdir(parents=True, exist_ok=True)
        temporary = self._registry / f".{pid}"
        # Renamed into place: a reader sees a whole entry or none.
        temporary.write_text(f"{(self._start_ticks(pid) or 0) * TICK_NS}\n", encoding="ascii")
        temporary.rename(self._registry / str(pid))

    def withdraw(self, pid: int | None = None) -> None:
        """Remove the entry of a process (this one), if there is one."""
        (self._registry / str(os.getpid() if pid is None else pid)).unlink(missing_ok=True)

    def others(self) -> list[int]:
        """Process ids of the live instances but this one, ascending; dead entries are ignored."""
        if not self._registry.is_dir():
            return []
        pids = (
            int(e.name) for e in self._registry.iterdir() if e.name.isascii() and e.name.isdigit()
        )
        live = []
        for pid in [pid for pid in pids if pid != os.getpid()]:
            if self._is_live(pid):
                live.append(pid)
            else:
                self._forget(pid)
        return sorted(live)

    def _forget(self, pid: int) -> None:
        """Remove what a process left that was killed: all entries are looked at every second."""
        with suppress(OSError):
            self.withdraw(pid)

    def _is_live(self, pid: int) -> bool:
        """Whether the process of that id is the one that announced itself, not a later one."""
        entry = self._registry / str(pid)
        try:
            announced = int(entry.read_text(encoding="ascii"))
            writer = entry.stat(follow_symlinks=False).st_uid
            owner = (self._proc / str(pid)).stat().st_uid
        except (OSError, ValueError):
            return False  # withdrawn meanwhile, or not an entry of ours
        # The services' user may write here too: it hides its own processes, nobody else's.
        if writer not in (0, owner):
            return False
        ticks = self._start_ticks(pid)
        # Exact nanoseconds and those of a whole tick name the same start.
        return ticks is not None and announced // TICK_NS == ticks

    def _start_ticks(self, pid: int) -> int | None:
        try:
            stat = (self._proc / str(pid) / "stat").read_bytes()
        except OSError:
            return None
        # The command name, field 2, may hold blanks and parentheses.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])


def other_instances() -> list[int]:
    """Process ids of the other live instances on this host."""
    return Instances().others()
