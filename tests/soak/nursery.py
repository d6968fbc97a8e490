"""`python -m tests.soak.nursery`: starts daemons without the wait for their imports.

For soaks that kill daemons by the thousand: one process imports what a daemon imports, and forks
for each line of standard input, a JSON list of the daemon's words. The answer is the process id.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from whenced import daemon, resume
from whenced.__main__ import main as whenced

_LAYOUT = resume.layout()  # imports the rest
_USED = daemon


def serve() -> None:
    """Fork for each line, until there is none."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _become(words: list[str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    try:
        os._exit(whenced(words))
    finally:  # never back into the loop above
        sys.excepthook(*sys.exc_info())
        os._exit(99)


class Nursery:
    """The same, from the side of who wants a daemon."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env=environment,
            )

    def bear(self, words: list[str]) -> int:
        """Start a daemon; return its process id."""
        asked: IO[str] | None = self._process.stdin
        told: IO[str] | None = self._process.stdout
        assert asked is not None
        assert told is not None
        asked.write(json.dumps(words) + "\n")
        asked.flush()
        return int(told.readline())

    def close(self) -> None:
        """Start no more."""
        self._process.communicate(timeout=30)


if __name__ == "__main__":
    serve()
