"""From the start of the daemon to capturing, and what of it is the interpreter and its imports.

Only measures. No collector is needed: a daemon captures without one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Section, spread
from tests.addresses import free_address
from tests.scope import Scope

STARTS = 11
_IMPORTS = "import whenced.__main__"


def measure() -> Section:
    """Start the daemon again and again, each time beside a bare interpreter."""
    scope = Scope.create(f"whence-bench-start-{os.getpid()}")
    bare_ms, imports_ms, ready_ms, own_ms, later_ms = [], [], [], [], []
    try:
        with tempfile.TemporaryDirectory(
            prefix="whence-bench-",
            ignore_cleanup_errors=True,  # a hasher may still write byte code
        ) as folder:
            compiled = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/pyc"}
            compiled.pop("PYTHONDONTWRITEBYTECODE", None)
            _interpreter_ms(_IMPORTS, compiled)  # writes the byte code, as an installation does
            for _ in range(STARTS):
                bare_ms.append(_interpreter_ms("pass", compiled))
                imports_ms.append(_interpreter_ms(_IMPORTS, compiled))
                ready, own, later = _daemon_ms(Path(folder), scope, compiled)
                ready_ms.append(ready)
                own_ms.append(own)
                later_ms.append(later)
    finally:
        scope.remove()
    parts = (
        ("interpreter alone (`python -c pass`)", bare_ms),
        ("interpreter and the imports that capturing needs", imports_ms),
        ("probe, load, attach, walk (what the daemon logs)", own_ms),
        ("start of the process to capturing", ready_ms),
        ("from the first program attached to all parts at work", later_ms),
    )
    after_ms = [ready - bare for ready, bare in zip(ready_ms, bare_ms, strict=True)]
    return Section(
        "start",
        "from nothing to capturing",
        "500 ms after the interpreter is up",
        f"{STARTS} starts of the daemon, scoped to an empty control group, without a collector;"
        " before each one a bare interpreter and one that only imports. Byte code is on disk."
        " Capturing: all programs are attached, what ran before is listed, a thread empties the"
        " rings. The other parts (gRPC, hasher, metrics) are imported meanwhile.",
        ("part", "median (least to greatest)"),
        (
            *((name, spread(values, "ms")) for name, values in parts),
            ("**after the interpreter is up**", spread(after_ms, "ms")),
        ),
    )


def _interpreter_ms(program: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return (time.perf_counter() - began) * 1000


def _daemon_ms(
    folder: Path, scope: Scope, environment: dict[str, str]
) -> tuple[float, float, float]:
    """Start one and stop it.

    Return ms from its start to capturing, what it says of that, and of its other parts.
    """
    settings = folder / "whenced.toml"
    settings.touch()
    words = ["--data-dir", str(folder), "--address", free_address(), "--config", str(settings)]
    command = [sys.executable, "-m", "whenced", *words, "--cgroup", str(scope.directory)]
    began = time.perf_counter()
    daemon = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert daemon.stderr is not None  # noqa: S101 -- a pipe was asked for
    said, ready_ms, own_ms = "", 0.0, 0.0
    try:
        for said in daemon.stderr:
            if found := re.search(r"capturing after (\d+) ms", said):
                ready_ms, own_ms = (time.perf_counter() - began) * 1000, float(found[1])
            elif found := re.search(r"all parts work (\d+) ms", said):
                return ready_ms, own_ms, float(found[1])
        raise SystemExit(f"the daemon did not start: {said.strip()}")
    finally:
        daemon.send_signal(signal.SIGINT)  # its capture ends with it
        daemon.communicate()
