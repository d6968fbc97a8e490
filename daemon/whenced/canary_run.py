"""Run the canary as an observed process and compare what arrived. See canary.py."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced import canary
from whenced.rows import AccessRow, NameRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.capture import CaptureLoop
    from whenced.loader import Capture
    from whenced.rows import Row

_PATIENCE_S: Final = 5.0
_ACCESSES: Final[dict[int, str]] = {
    wire.ACCESS_OP_READ: "read",
    wire.ACCESS_OP_WRITE: "write",
    wire.ACCESS_OP_EXECUTE: "execute",
    wire.ACCESS_OP_MAP: "map",
    wire.ACCESS_OP_TRUNCATE: "truncate",
}
_CHANGES: Final[dict[int, str]] = {
    wire.NAME_CHANGE_RENAME: "rename",
    wire.NAME_CHANGE_LINK: "link",
    wire.NAME_CHANGE_DELETE: "delete",
}
# Waits for its line, so that it can be moved into the scope first.
_GATE: Final = 'read -r go && exec "$@"'


def edge_of(row: Row) -> tuple[str, str] | None:
    """(op, path) of a row that is an edge."""
    if isinstance(row, AccessRow) and row.path is not None:
        return _ACCESSES.get(row.op, "?"), row.path
    if isinstance(row, NameRow) and row.path is not None:
        return _CHANGES.get(row.change, "?"), row.path
    return None


class CanaryRunner:
    """One canary at a time; callable from any thread."""

    def __init__(
        self, kernel: Capture, loop: CaptureLoop, directory: Path, scope_cgroups: tuple[Path, ...]
    ) -> None:
        self._kernel = kernel
        self._loop = loop
        self._directory = directory.resolve()
        self._scope_cgroups = scope_cgroups
        self._one = threading.Lock()

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer {"do": "canary"}: ok, token, expected, seen, missing, elapsed_ms."""
        with self._one:
            token = secrets.token_hex(8)
            place = self._directory / token
            place.mkdir(parents=True)
            try:
                return self._run(place, token)
            finally:
                shutil.rmtree(place, ignore_errors=True)

    def _run(self, place: Path, token: str) -> dict[str, Any]:
        wanted = canary.expected(place)
        missing = {(edge["op"], edge["path"]) for edge in wanted}
        seen: set[tuple[str, str]] = set()
        arrived = threading.Event()
        started = time.monotonic()
        process = self._spawn(place, token)
        tap = self._tap(str(place), seen, missing, arrived)
        self._loop.taps.append(tap)
        try:
            process.communicate(b"go\n", timeout=_PATIENCE_S)
            arrived.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            self._loop.taps.remove(tap)
        return {
            "ok": not missing,
            "token": token,
            "expected": wanted,
            "seen": [{"op": op, "path": path} for op, path in sorted(seen)],
            "missing": [{"op": op, "path": path} for op, path in sorted(missing)],
            "elapsed_ms": round((time.monotonic() - started) * 1000),
        }

    def _spawn(self, place: Path, token: str) -> subprocess.Popen[bytes]:
        """Start it behind a gate, no longer excluded as the daemon's other children are."""
        program = [sys.executable, "-I", "-S", canary.__file__, str(place), canary.MARK + token]
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *program], stdin=subprocess.PIPE, cwd=place
        )
        try:
            self._kernel.exclude(process.pid, flag=False)
            for cgroup in self._scope_cgroups[:1]:
                (cgroup / "cgroup.procs").write_text(str(process.pid))
        except OSError:  # a control group that is gone: nobody would ever open the gate
            process.kill()
            process.communicate()
            raise
        return process

    def _tap(
        self,
        place: str,
        seen: set[tuple[str, str]],
        missing: set[tuple[str, str]],
        arrived: threading.Event,
    ) -> Callable[[Iterable[Row]], None]:
        def look(rows: Iterable[Row]) -> None:
            for row in rows:
                edge = edge_of(row)
                # By its folder, whose name is a secret of this canary: inside a pid namespace the
                # kernel side knows it by another process id than we do.
                if edge is not None and edge[1].startswith(place):
                    seen.add(edge)
                    missing.discard(edge)
            if not missing:
                arrived.set()

        return look
