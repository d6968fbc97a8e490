"""The real `whence` command, asked by the tests about one instance."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tools.instance import Instance, client_path

Answer = TypeVar("Answer")

# From the end of a job to its answer: two seconds, and the machine may be busy.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Whence:
    """Runs the command line with the instance's address."""

    instance: Instance

    def run(self, *arguments: str | Path, address: str | None = None) -> Said:
        """Run `whence ARGUMENTS` and return what it said and how it ended."""
        settings = self.instance.environment
        process = subprocess.run(
            [str(client_path(self.instance)), *map(str, arguments)],
            env={**settings, "WHENCE_ADDRESS": address or self.instance.address},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Said(process.returncode, process.stdout, process.stderr)

    def __call__(self, *arguments: str | Path) -> Any:
        """Run `whence ARGUMENTS --json` and return the document; it has to be found."""
        said = self.run(*arguments, "--json")

        assert (said.code, arguments) == (0, arguments), said.stderr
        return json.loads(said.stdout)

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of one SELECT over the stable views."""
        rows: list[dict[str, Any]] = self("sql", query)
        return rows


@dataclass(frozen=True, slots=True)
class Said:
    """Exit status, standard output and standard error of one call."""

    code: int
    stdout: str
    stderr: str


def settled(ask: Callable[[], Answer], expected: object) -> Answer:
    """Ask until the answer is the expected one or patience ends; return the last answer.

    Capture is asynchronous; the test then compares, and says the difference.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := ask()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
