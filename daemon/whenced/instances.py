"""Who else is whence on this host: one small file for each process, so that none records another.

May not decide what is left out of capture; the caller does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from whenced import proc_stat

REGISTRY = Path("/run/whence/instances")


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
        temporary.write_text(f"{self._start_ns(pid) or 0}\n", encoding="ascii")
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
        # Exact nanoseconds and those of a whole tick name the same start.
        return self._start_ns(pid) == proc_stat.to_tick(announced)

    def _start_ns(self, pid: int) -> int | None:
        try:
            return proc_stat.start_ns(pid, self._proc)
        except OSError:
            return None
