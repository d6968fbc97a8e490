"""kill -9 of daemon, hasher, relay and collector at random moments, under jobs that can be counted.

Real programs in the kernel, a real daemon, relay, collector. What tests/workloads/tally.c does is
known beforehand: each process with its exit code, each call and byte of each file. The database has
to hold exactly that, every run has to be complete, no time unobserved; and what the kernel's side
counted has to be what the rows of conservation say.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.addresses import free_address
from tests.asking import Whence
from tests.scope import Scope
from tests.soak.kills import Relay
from tests.soak.nursery import Nursery
from tools.instance import COLLECTOR, Instance, detach, running, start, stop

SOURCE: Final = Path(__file__).resolve().parent.parent / "workloads" / "tally.c"
SETTINGS: Final = "[gpu]\nenabled = false\n"
PATIENCE_S: Final = 90.0
# Who is killed how often; a collector takes a second to come back.
VICTIMS: Final = {"daemon": 70, "hasher": 12, "relay": 15, "collector": 3}
CALLS: Final = {"write": "write", "read": "read"}
Access = tuple[str, str]  # name, operation
Amount = tuple[int, int]  # calls, bytes


@dataclass(slots=True)
class Found:
    """What came of one block."""

    kills: Counter[str] = field(default_factory=Counter)
    files: int = 0
    processes: int = 0
    differences: list[str] = field(default_factory=list)


def compiled(folder: Path) -> Path:
    """Compile the workload; raises CalledProcessError with gcc's words."""
    program = folder / "tally"
    subprocess.run(["gcc", "-O1", "-o", program, SOURCE], check=True)
    return program


def expected_of(files: int) -> tuple[dict[Access, Amount], Counter[int | None]]:
    """Return what numbers below ``files`` amount to, and how often which exit code."""
    accesses: dict[Access, Amount] = {}
    codes: Counter[int | None] = Counter()
    for number in range(files):
        calls = 1 + number % 3
        size = calls * 100
        accesses[str(number), "write"] = calls, size
        accesses[str(number), "read"] = -(-size // 64) + 1, size
        codes.update((number % 5, 0))
    return accesses, codes


@dataclass(slots=True)
class Fleet:
    """The programs of one block, and the jobs beside them."""

    place: Path
    scope: Scope
    program: Path
    dice: random.Random
    instance: Instance = field(init=False)
    relay: Relay = field(init=False)
    nursery: Nursery = field(init=False)
    daemon: int = 0
    jobs: int = 0
    files: int = 0
    _job: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.instance = Instance(self.place / "data", free_address())
        (self.instance.data_dir / "run").mkdir(parents=True)
        (self.place / "work").mkdir()
        (self.place / "whenced.toml").write_text(SETTINGS)
        self.relay = Relay(self.place / "uplink.sock", self.instance.address)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WHENCE_")}
        self.nursery = Nursery(self.place / "whenced.log", environment)

    def begin(self) -> None:
        """Start everything and wait until capture works."""
        start(self.instance, COLLECTOR)
        self.relay.start()
        self.bear()
        self.until(lambda: bool(self.status().get("capturing")))

    def bear(self) -> None:
        """Start a daemon."""
        words = ["--config", str(self.place / "whenced.toml")]
        words += ["--data-dir", str(self.instance.data_dir), "--address"]
        words += [f"unix:{self.relay.socket}", "--cgroup", str(self.scope.directory)]
        self.daemon = self.nursery.bear(words)

    def kill(self, victim: str) -> None:
        """End one of the programs as a fault would, and start it again."""
        if victim == "daemon":
            _kill(self.daemon)
            time.sleep(self.dice.random() ** 4 * 0.3)
            self.bear()
        elif victim == "hasher":
            for child in _children(self.daemon):
                _kill(child)
        elif victim == "relay":
            self.relay.end(signal.SIGKILL)
            time.sleep(self.dice.random() * 0.1)
            self.relay.start()
        elif (collector := running(self.instance, COLLECTOR)) is not None:
            os.kill(collector.pid, signal.SIGKILL)
            self.until(lambda: running(self.instance, COLLECTOR) is None)
            start(self.instance, COLLECTOR)

    def work(self) -> None:
        """Keep a job running."""
        if self._job is not None and self._job.poll() is None:
            return
        self.rest()
        count, pause_us = self.dice.randrange(1, 80), self.dice.choice((0, 0, 300, 5_000))
        words = [str(self.program), str(self.files), str(count), str(pause_us)]
        self._job = self.scope.start(words, self.place / "work")
        self.files += count
        self.jobs += 1

    def rest(self) -> None:
        """Wait for the job that runs."""
        if self._job is not None:
            output, complaints = self._job.communicate(timeout=PATIENCE_S)
            assert self._job.returncode == 0, f"{output}{complaints}"
            self._job = None

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself; empty while it is not there."""
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(5.0)
            asked.connect(str(self.instance.data_dir / "daemon" / "whenced.sock"))
            asked.sendall(b'{"do": "status"}\n')
            with asked.makefile() as told:
                answer: dict[str, Any] = json.loads(told.readline())
                return answer
        return {}

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait; raises AssertionError after a while."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"it did not come: {self.status()}"
            time.sleep(0.05)

    def end(self) -> None:
        """Stop all, and the capture with them."""
        with suppress(ProcessLookupError):
            os.kill(self.daemon, signal.SIGINT)
            deadline_s = time.monotonic() + 20
            while Path(f"/proc/{self.daemon}").exists() and time.monotonic() < deadline_s:
                time.sleep(0.02)
        self.relay.end(signal.SIGTERM)
        stop(self.instance, COLLECTOR)
        detach(self.instance)
        self.nursery.close()


def block(place: Path, scope: Scope, program: Path, rounds: int, seed: int) -> Found:
    """Kill so many times; then wait for the rest and compare."""
    dice = random.Random(seed)  # noqa: S311 -- repeatable
    fleet, found = Fleet(place, scope, program, dice), Found()
    try:
        fleet.begin()
        for _ in range(rounds):
            fleet.work()
            time.sleep(dice.choice((0.02, 0.1, 0.3, 0.6)) * dice.random())
            (victim,) = dice.choices(list(VICTIMS), list(VICTIMS.values()))
            fleet.kill(victim)
            found.kills[victim] += 1
        fleet.rest()
        _compare(fleet, found)
    finally:
        fleet.end()
    return found


def _compare(fleet: Fleet, found: Found) -> None:
    """Ask until the answer is the expected one, or patience ends; note what differs."""
    accesses, codes = expected_of(fleet.files)
    codes[0] += fleet.jobs
    found.files, found.processes = fleet.files, codes.total()
    whence = Whence(fleet.instance)
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        found.differences = _differences(whence, fleet, accesses, codes)
        if not found.differences or time.monotonic() > deadline_s:
            return
        time.sleep(1.0)


def _differences(
    whence: Whence, fleet: Fleet, accesses: dict[Access, Amount], codes: Counter[int | None]
) -> list[str]:
    work = fleet.place / "work"
    told = whence.sql(
        "SELECT path, op, sum(ops)::BIGINT AS ops, sum(bytes)::BIGINT AS bytes, "  # noqa: S608 -- a folder of ours
        "count(*) FILTER (artifact_state IS DISTINCT FROM 'verified') AS unverified "
        f"FROM file_accesses WHERE starts_with(path, '{work}/') GROUP BY ALL"
    )
    stored = {(Path(row["path"]).name, row["op"]): (row["ops"], row["bytes"]) for row in told}
    wrong = [
        f"{key}: {accesses.get(key)} was done, {stored.get(key)} is told"
        for key in sorted(accesses.keys() | stored.keys())
        if accesses.get(key) != stored.get(key)
    ]
    wrong += [f"{row['path']} {row['op']}: no digest" for row in told if row["unverified"]]
    ends = whence.sql(
        f"SELECT exit_code, count(*) AS n FROM processes WHERE cwd = '{work}' GROUP BY ALL"  # noqa: S608 -- a folder of ours
    )
    if (found := Counter({row["exit_code"]: row["n"] for row in ends})) != codes:
        wrong.append(f"exit codes: {dict(codes)} happened, {dict(found)} are told")
    runs = whence.sql(
        "SELECT DISTINCT incomplete_reason AS why FROM runs WHERE kind != 'canary' AND NOT complete"
    )
    wrong += [f"a run is incomplete: {row['why']}" for row in runs]
    wrong += [f"a gap is told: {row}" for row in whence.sql("SELECT * FROM unobserved_times")]
    return wrong + _unconserved(whence, fleet)


def _unconserved(whence: Whence, fleet: Fleet) -> list[str]:
    """What the kernel's side counted against what the rows of conservation add up to."""
    counters = fleet.status().get("counters", {})
    rows = whence.sql(
        "SELECT record_class, sum(attempted)::BIGINT AS attempted, sum(received)::BIGINT AS "
        "received, sum(lost)::BIGINT AS lost FROM losses GROUP BY ALL"
    )
    told = {row["record_class"]: (row["attempted"], row["received"], row["lost"]) for row in rows}
    counted = {
        name: (each["attempted"], each["stored"], each["lost"]) for name, each in counters.items()
    }
    return [
        f"{name}: the kernel counted {counted.get(name)}, the rows say {told.get(name)}"
        for name in sorted(counted.keys() | told.keys())
        if counted.get(name, (0, 0, 0)) != told.get(name, (0, 0, 0))
    ]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return []


def _kill(pid: int) -> None:
    """Kill and wait until it is gone, and its descriptors with it."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)
