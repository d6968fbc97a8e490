"""Is whence well here? Facts from host, daemon and collector → a checklist with remedies.

Asks and reports; it repairs nothing.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import UnreachableError, WhenceError
from whence.text import count_text, size_text

if TYPE_CHECKING:
    from whence.client import Client
    from whence.model import Daemon, Status

HOST_CHECK = (sys.executable, "-m", "whenced", "--check", "--json")
HOST_CHECK_TIMEOUT_S = 60
CONTROL_TIMEOUT_S = 30.0
# The canary's edges must be answers within this time of having been captured.
ARRIVAL_LIMIT_NS = 10_000_000_000
POLL_S = 0.25
_LOW_DISK_BYTES = 1 << 30
_CANARY_QUERY = """
SELECT DISTINCT f.op, f.path
FROM file_accesses f JOIN processes p USING (process_id)
WHERE contains(array_to_string(p.argv, ' '), 'whence-canary:TOKEN')
"""
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist.

    part: "host", "daemon" or "collector". remedy: empty where nothing is wrong. required: False
    for what whence can do without, at the price that the detail tells.
    """

    part: str
    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Canary:
    """What the daemon's canary did: `expected` and `missing` are sorted (op, path)."""

    token: str
    expected: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]


def control_socket(environment: Mapping[str, str]) -> Path:
    """Return the socket of the daemon on this host."""
    return Path(environment.get("WHENCE_DATA_DIR") or "/var/lib/whence") / "daemon/whenced.sock"


# Host ---------------------------------------------------------------------------------------


def check_host(command: Sequence[str] = HOST_CHECK) -> list[Check]:
    """Ask the daemon's program what this kernel is able to do."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=HOST_CHECK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        remedy = "run `whenced --check` by hand"
        return [Check("host", "abilities", False, "the check did not end in a minute", remedy)]
    report = parse_object(done.stdout)
    if report is not None:
        return host_checks(report)
    if "No module named" in done.stderr:
        words = "the daemon is not installed here"
        return [Check("host", "abilities", False, words, "pip install 'whence[daemon]'")]
    words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return [Check("host", "abilities", False, words, "run `whenced --check` by hand, as root")]


def host_checks(report: Mapping[str, Any]) -> list[Check]:
    """Return a check for each ability that the daemon's program reports."""
    abilities = [row for row in report.get("abilities") or () if isinstance(row, dict)]
    checks = [_ability_check(ability) for ability in abilities]
    if report.get("ok") or not all_well(checks):
        return checks
    words = "this host cannot capture"
    return [*checks, Check("host", "capture", False, words, "run `whenced --check` as root")]


def _ability_check(ability: Mapping[str, Any]) -> Check:
    ok = bool(ability.get("ok"))
    return Check(
        part="host",
        name=str(ability.get("name") or "?"),
        ok=ok,
        detail=str(ability.get("detail") or ""),
        remedy="" if ok else str(ability.get("remedy") or ""),
        required=bool(ability.get("required", True)),
    )


def all_well(checks: Sequence[Check]) -> bool:
    """Return whether everything that is required is there."""
    return all(check.ok or not check.required for check in checks)


# Daemon -------------------------------------------------------------------------------------


def check_daemon(path: Path) -> tuple[list[Check], Canary | None]:
    """Ask the daemon for its state and for a proof of life."""
    try:
        status = ask_control(path, "status")
        reply = ask_control(path, "canary")
    except OSError as error:
        return [Check("daemon", "control", False, *_control_trouble(path, error))], None
    if status is None or reply is None:
        words = f"{path} answered with something that is not whence's"
        return [Check("daemon", "control", False, words, "restart the daemon")], None
    canary = read_canary(reply)
    checks = [*daemon_checks(status), *gpu_check(status), *proof_checks(status)]
    return [*checks, canary_check(reply, canary)], canary


def _control_trouble(path: Path, error: OSError) -> tuple[str, str]:
    if isinstance(error, PermissionError):
        return f"{path} is closed to this user", "run `whence doctor` as root"
    if isinstance(error, TimeoutError):
        return f"the daemon behind {path} did not answer", "see its log, then restart it"
    return f"no daemon answers at {path}", "start it with `make up` or set WHENCE_DATA_DIR"


def ask_control(path: Path, what: str) -> Mapping[str, Any] | None:
    """Send {"do": what} and return the object that comes back, None if it is none.

    Raises OSError when nobody answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(CONTROL_TIMEOUT_S)
        with _short_name(path) as name:
            control.connect(name)
        control.sendall(json.dumps({"do": what}).encode() + b"\n")
        with control.makefile("rb") as lines:
            return parse_object(lines.readline().decode("utf-8", "replace"))


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """Name a socket through its folder's descriptor: an address holds 107 bytes, a path more."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def parse_object(text: str) -> Mapping[str, Any] | None:
    """Return a JSON object, None for any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def daemon_checks(status: Mapping[str, Any]) -> list[Check]:
    """Return checks of capture, of losses, and of the way to the collector."""
    uplink, spool = status.get("uplink") or {}, status.get("spool") or {}
    lost = sum(_lost(status.get("counters") or {})) + int(spool.get("lost_rows") or 0)
    return [
        _check(
            "capture",
            None if status.get("capturing") else "no probe is attached",
            "probes are attached",
            "see the daemon's log, then restart it",
        ),
        _check(
            "losses",
            f"{count_text(lost, 'record')} lost since the daemon started" if lost else None,
            "nothing lost since the daemon started",
            "answers about that time say so; raise the ring sizes if it goes on",
        ),
        _check(
            "spool",
            spool.get("storage_error"),
            f"{count_text(int(spool.get('batches') or 0), 'batch', 'batches')} waiting",
            "free space under the data directory",
        ),
        _check(
            "uplink",
            None if uplink.get("connected") else uplink.get("last_error") or "not connected",
            "connected to the collector",
            "start the collector, or the daemon with WHENCE_ADDRESS set to it",
        ),
    ]


def gpu_check(status: Mapping[str, Any]) -> list[Check]:
    """Tell whether GPUs are accounted for; without a GPU that is off and nothing is wrong."""
    gpu = status.get("gpu")
    if not isinstance(gpu, Mapping):
        return []  # an older daemon
    reason = str(gpu.get("reason") or "")
    if gpu.get("accounting") == "on":
        words = f"on: {gpu.get('gpus')} GPUs, NVML {gpu.get('nvml')}"
        return [Check("daemon", "gpu accounting", True, words, required=False)]
    refused = reason.startswith("the kernel refused")
    remedy = "see the daemon's log; files and runs are captured all the same" if refused else ""
    return [
        Check("daemon", "gpu accounting", not refused, f"off: {reason}", remedy, required=False)
    ]


def proof_checks(status: Mapping[str, Any]) -> list[Check]:
    """Return checks of what the daemon proves of itself; none where it is of before."""
    proof, clock = status.get("proof") or {}, status.get("canary") or {}
    if not proof:
        return []
    walks, differences = int(proof.get("walks") or 0), int(proof.get("differences") or 0)
    skipped = sum((proof.get("skipped") or {}).values())
    checks = [
        _check(
            "balance",
            f"{count_text(differences, 'process', 'processes')} whose birth or end only a walk "
            "over all tasks found"
            if differences
            else None,
            f"forks and exits agree with {count_text(walks, 'walk')} over all tasks",
            "the runs of these processes say so; raise life_ring_bytes if it goes on",
        ),
        _check(
            "programs",
            f"the kernel skipped {count_text(skipped, 'call')} of a program" if skipped else None,
            "the kernel skipped no call of a program",
            "runs of that time say so; look for another tracer on this host that interrupts whence",
        ),
    ]
    if clock.get("ok") is False:
        words = f"not seen a moment ago: {', '.join(clock.get('missing') or ())}"
        checks.append(
            Check("daemon", "minute canary", False, words, "see the daemon's log, then restart it")
        )
    return checks


def _check(name: str, trouble: object, well: str, remedy: str) -> Check:
    if trouble is None:
        return Check("daemon", name, True, well)
    return Check("daemon", name, False, str(trouble), remedy)


def _lost(counters: Mapping[str, Any]) -> Iterator[int]:
    """Yield every count named lost, at any depth."""
    for name, value in counters.items():
        if isinstance(value, dict):
            yield from _lost(value)
        elif isinstance(value, int) and (name == "lost" or name.endswith("_lost")):
            yield value


def read_canary(reply: Mapping[str, Any]) -> Canary | None:
    """Return the canary of a reply, None where there is none."""
    token = str(reply.get("token") or "")
    if _TOKEN.fullmatch(token) is None:
        return None
    return Canary(token, _edges(reply.get("expected")), _edges(reply.get("missing")))


def _edges(value: Any) -> tuple[tuple[str, str], ...]:
    rows = [row for row in value or () if isinstance(row, dict)]
    return tuple(sorted({(str(row.get("op")), str(row.get("path"))) for row in rows}))


def canary_check(reply: Mapping[str, Any], canary: Canary | None) -> Check:
    """Return whether the kernel side saw everything that the canary did."""
    remedy = "restart the daemon; if it repeats, run `whenced --check`"
    if canary is None:
        words = str(reply.get("error") or "the canary did not run")
        return Check("daemon", "canary", False, words, remedy)
    if reply.get("ok") and not canary.missing:
        words = f"{count_text(len(canary.expected), 'edge')} seen in {reply.get('elapsed_ms')} ms"
        return Check("daemon", "canary", True, words)
    return Check("daemon", "canary", False, f"not seen: {_edge_words(canary.missing)}", remedy)


def _edge_words(edges: Sequence[tuple[str, str]]) -> str:
    named = ", ".join(f"{op} {path}" for op, path in edges[:3])
    return named + (f" and {len(edges) - 3} more" if len(edges) > 3 else "")


# Collector ----------------------------------------------------------------------------------


def check_collector(
    client: Client,
    host: str,
    canary: Canary | None,
    now_ns: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[Check], bool]:
    """Return the collector's checks, and whether it could be reached."""
    try:
        checks = collector_checks(client.status(), host, client.address)
        if canary is not None:
            checks.append(arrival_check(client, canary, now_ns, sleep))
    except UnreachableError as error:
        words, _, remedy = str(error).partition(": ")
        return [Check("collector", "answers", False, words, remedy)], False
    except WhenceError as error:
        return [Check("collector", "answers", False, str(error), "see the collector's log")], True
    return checks, True


def collector_checks(status: Status, host: str, address: str) -> list[Check]:
    """Return checks of what the collector says of itself and of this host's daemon."""
    words = f"version {status.version} at {address}, schema {status.schema_version}"
    checks = [Check("collector", "answers", True, words)]
    if status.storage_error is not None:
        remedy = "free space under the data directory; daemons keep their batches until then"
        checks.append(Check("collector", "storage", False, status.storage_error, remedy))
    else:
        free = size_text(status.disk_free_bytes)
        enough = status.disk_free_bytes >= _LOW_DISK_BYTES
        words = f"commits work, {free} free" + ("" if enough else ", which is little")
        remedy = "" if enough else "free space under the data directory before it is full"
        # Little is no fault: a disk that is full shows as commits that fail.
        checks.append(Check("collector", "storage", enough, words, remedy, required=False))
    mine = [daemon for daemon in status.daemons if daemon.host == host]
    return [*checks, _stream_check(host, mine[0] if mine else None)]


def _stream_check(host: str, daemon: Daemon | None) -> Check:
    remedy = f"start the daemon on {host} with WHENCE_ADDRESS set to this collector"
    if daemon is None:
        return Check("collector", "stream", False, f"{host} has never delivered", remedy)
    if not daemon.connected:
        return Check("collector", "stream", False, f"{host} is not connected", remedy)
    if daemon.canary_trouble is not None:
        remedy = "see the logs of daemon and collector; `whence doctor` runs another canary now"
        return Check("collector", "stream", False, daemon.canary_trouble, remedy)
    return Check("collector", "stream", True, f"{host} is connected ({daemon.back_end})")


def canary_query(canary: Canary) -> str:
    """Return the statement that lists a canary's edges; its token is checked text."""
    return _CANARY_QUERY.replace("TOKEN", canary.token)


def arrival_check(
    client: Client, canary: Canary, now_ns: Callable[[], int], sleep: Callable[[float], None]
) -> Check:
    """Poll until every edge of the canary is an answer, or the limit is over."""
    begun_ns = now_ns()
    while True:
        rows = [row for piece in client.sql(canary_query(canary)) for row in piece.rows]
        seen = {(str(op), str(path)) for op, path in rows}
        missing = [edge for edge in canary.expected if edge not in seen]
        if not missing:
            words = f"all {count_text(len(canary.expected), 'edge')} are answers"
            return Check("collector", "canary", True, words)
        if now_ns() - begun_ns > ARRIVAL_LIMIT_NS:
            words = f"not an answer after 10 s: {_edge_words(missing)}"
            return Check(
                "collector", "canary", False, words, "see the logs of daemon and collector"
            )
        sleep(POLL_S)
