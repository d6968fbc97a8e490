"""Doctor: what host, daemon and collector say → a checklist with remedies."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit import client_samples as samples

from whence.client import Client
from whence.doctor import (
    Canary,
    Check,
    all_well,
    canary_check,
    check_collector,
    check_daemon,
    check_host,
    control_socket,
    daemon_checks,
    gpu_check,
    host_checks,
    read_canary,
)
from whence.testing import Answers, Table, serve

NAME = "0123456789abcdef"
EDGES = (("read", "/c/first"), ("write", "/c/first"))
EXPECTED = [{"op": op, "path": path} for op, path in EDGES]
CANARY = Canary(NAME, EDGES, ())
STATUS = {
    "capturing": True,
    "counters": {"touch": {"attempted": 9, "stored": 9, "lost": 0}},
    "spool": {"batches": 2, "lost_rows": 0, "storage_error": None},
    "uplink": {"connected": True, "last_error": None},
}
SEEN = {"ok": True, "token": NAME, "expected": EXPECTED, "missing": [], "elapsed_ms": 12}
READY = Answers(status=samples.status(), tables={NAME: Table(["op", "path"], EDGES)})


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_the_socket_lies_in_the_data_directory() -> None:
    assert control_socket({}) == Path("/var/lib/whence/daemon/whenced.sock")
    assert control_socket({"WHENCE_DATA_DIR": "/x"}) == Path("/x/daemon/whenced.sock")


def test_abilities_become_checks() -> None:
    report = {
        "ok": False,
        "abilities": [
            {"name": "btf", "ok": True, "detail": "found", "remedy": "boot another kernel"},
            {"name": "root", "ok": False, "detail": "uid 1000", "remedy": "use sudo"},
            {
                "name": "cgroup2",
                "ok": False,
                "detail": "none",
                "remedy": "mount",
                "required": False,
            },
        ],
    }

    checks = check_host(program(f"print({json.dumps(report)!r})"))

    assert checks == [
        Check("host", "btf", True, "found"),
        Check("host", "root", False, "uid 1000", "use sudo"),
        Check("host", "cgroup2", False, "none", "mount", required=False),
    ]
    assert not all_well(checks)
    assert all_well([checks[0], checks[2]])


def test_a_report_that_says_no_without_a_reason_is_not_well() -> None:
    assert not all_well(host_checks({"ok": False, "abilities": []}))


def test_a_host_without_the_daemon_is_told_how_to_get_it() -> None:
    checks = check_host([sys.executable, "-m", "no_such_program_here"])

    assert checks[0].remedy == "pip install 'whence[daemon]'"


def test_a_check_that_fails_gives_its_last_line() -> None:
    checks = check_host(program("import sys; sys.exit('first line\\nwhenced: it broke')"))

    assert (checks[0].ok, checks[0].detail) == (False, "whenced: it broke")


@contextmanager
def daemon(path: Path, answers: Mapping[str, Any]) -> Iterator[None]:
    """Answer one request a connection, as the daemon's control socket does."""
    path.parent.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(4)

    def work() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, client.makefile("rwb") as lines:
                asked = json.loads(lines.readline())["do"]
                lines.write(json.dumps(answers[asked]).encode() + b"\n")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_a_healthy_daemon(tmp_path: Path) -> None:
    path = tmp_path / "daemon" / "whenced.sock"

    with daemon(path, {"status": STATUS, "canary": SEEN}):
        checks, canary = check_daemon(path)

    assert checks == [
        Check("daemon", "capture", True, "probes are attached"),
        Check("daemon", "losses", True, "nothing lost since the daemon started"),
        Check("daemon", "spool", True, "2 batches waiting"),
        Check("daemon", "uplink", True, "connected to the collector"),
        Check("daemon", "canary", True, "2 edges seen in 12 ms"),
    ]
    assert canary == CANARY


def test_an_answer_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "daemon" / "whenced.sock"

    with daemon(path, {"status": ["not", "ours"], "canary": 3}):
        checks, canary = check_daemon(path)

    assert (all_well(checks), canary) == (False, None)


def test_no_daemon(tmp_path: Path) -> None:
    checks, canary = check_daemon(tmp_path / "daemon" / "whenced.sock")

    assert canary is None
    assert checks == [
        Check(
            "daemon",
            "control",
            False,
            f"no daemon answers at {tmp_path}/daemon/whenced.sock",
            "start it with `make up` or set WHENCE_DATA_DIR",
        )
    ]


def test_each_trouble_of_a_daemon_is_a_cross() -> None:
    trouble = {
        "capturing": False,
        "counters": {"touch": {"lost": 3}, "life": {"lost": 0}},
        "spool": {"batches": 1, "lost_rows": 4, "storage_error": "No space left on device"},
        "uplink": {"connected": False, "last_error": "connection refused"},
    }

    checks = daemon_checks(trouble)

    assert [(check.ok, check.detail) for check in checks] == [
        (False, "no probe is attached"),
        (False, "7 records lost since the daemon started"),
        (False, "No space left on device"),
        (False, "connection refused"),
    ]
    assert [check for check in checks if not check.remedy] == []


def test_a_canary_that_was_not_seen() -> None:
    reply = SEEN | {"ok": False, "missing": EXPECTED[:1]}

    check = canary_check(reply, read_canary(reply))

    assert (check.ok, check.detail) == (False, "not seen: read /c/first")


@pytest.mark.parametrize("token", ["", "a' OR true --", "x" * 65, None])
def test_a_token_that_could_be_sql_is_none(token: str | None) -> None:
    reply = SEEN | {"token": token}

    assert read_canary(reply) is None
    assert not canary_check(reply, None).ok


def test_a_healthy_collector() -> None:
    with serve(READY) as collector, Client(collector.address) as client:
        checks, reached = check_collector(client, "gpu-07", CANARY)

    assert reached
    assert [(check.name, check.ok) for check in checks] == [
        ("answers", True),
        ("storage", True),
        ("stream", True),
        ("canary", True),
    ]
    assert f"whence-canary:{NAME}" in str(collector.asked[1])


def test_the_canary_is_waited_for_and_not_for_ever() -> None:
    clock = iter(range(0, 60_000_000_000, 1_000_000_000))
    slept: list[float] = []
    late = Answers(status=samples.status(), tables={NAME: Table(["op", "path"], EDGES[:1])})

    with serve(late) as collector, Client(collector.address) as client:
        checks, _ = check_collector(client, "gpu-07", CANARY, lambda: next(clock), slept.append)

    assert (checks[-1].ok, checks[-1].detail) == (
        False,
        "not an answer after 10 s: write /c/first",
    )
    assert len(slept) == 10


def test_a_collector_in_trouble() -> None:
    trouble = samples.status(storage_error="No space left on device", daemons=[])

    with serve(Answers(status=trouble)) as collector, Client(collector.address) as client:
        checks, reached = check_collector(client, "gpu-07", None)

    assert reached
    assert [(check.ok, check.detail) for check in checks[1:]] == [
        (False, "No space left on device"),
        (False, "gpu-07 has never delivered"),
    ]


def test_little_space_is_a_warning_and_no_failure() -> None:
    little = samples.status(storage_error=None, disk_free_bytes=5 << 20)

    with serve(Answers(status=little)) as collector, Client(collector.address) as client:
        checks, _ = check_collector(client, "gpu-07", None)

    storage = checks[1]
    assert (storage.ok, storage.required) == (False, False)
    assert storage.detail == "commits work, 5.2 MB free, which is little"
    assert all_well([storage])


def test_no_collector() -> None:
    with serve(READY) as collector:
        address = collector.address

    with Client(address) as client:
        checks, reached = check_collector(client, "gpu-07", CANARY)

    assert not reached
    assert checks == [
        Check(
            "collector",
            "answers",
            False,
            f"no collector answers at {address}",
            "start it with `make up` or set WHENCE_ADDRESS",
        )
    ]


@pytest.mark.parametrize(
    ("reason", "ok"),
    [
        ("no NVIDIA driver is loaded on this host", True),
        ("the kernel refused the GPU programs: EPERM", False),
    ],
)
def test_without_a_gpu_accounting_is_off_and_nothing_is_wrong(reason: str, ok: bool) -> None:
    (check,) = gpu_check({"gpu": {"accounting": "off", "reason": reason}})

    assert (check.ok, check.required, check.detail) == (ok, False, f"off: {reason}")
    assert bool(check.remedy) != ok


def test_a_daemon_that_knows_nothing_of_gpus_has_no_such_check() -> None:
    assert gpu_check({}) == []
