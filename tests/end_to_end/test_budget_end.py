"""A run whose budget is spent: asked for a checkpoint, then ended, where people and host agree.

Real orders down the real stream of a real daemon; GPUs are stand-ins behind the real NVML library.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.addresses import free_address
from tests.asking import Whence, settled
from tests.conftest import last_lines
from tests.end_to_end.logins import Logins, logins
from tests.end_to_end.test_requests import administer, state
from tests.fakes.nvml import compile_fake, uuid
from tests.scope import Scope
from tools.instance import COLLECTOR, GroundError, Instance, bring_down, bring_up, start

PRICES = '[[price]]\ngpu_model = "NVIDIA H100*"\nusd_per_gpu_hour = 3600\nfrom = 2020-01-01\n'
# Trains until it is told to stop: a checkpoint on SIGUSR1, deaf to SIGTERM, and a helper that left.
JOB = """
import fcntl, os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # its parent leaves at once: init adopts it
        with open("helper.pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
uvm = os.open("uvm", os.O_RDWR)
try:
    fcntl.ioctl(uvm, 37, bytes(15) + bytes([int(sys.argv[1])]) + bytes(48))
except OSError:
    pass  # a stand-in knows no such request; the daemon counts it all the same
def checkpoint(*_):
    with open("checkpoint.pt", "w") as file:
        file.write("weights so far" * 50)
signal.signal(signal.SIGUSR1, checkpoint)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("job.pid", "w") as file:
    file.write(str(os.getpid()))
while True:
    time.sleep(0.1)
"""


class Posts(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    taken: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Take an event."""
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # noqa: D102 -- nothing to say
        return


@contextmanager
def host(scope: Scope, folder: Path, *, enforce: bool) -> Iterator[Instance]:
    """Start an instance with a fake GPU, prices, a webhook and the host's word on orders."""
    compile_fake(folder)
    scene = f"gpu {uuid(1)} 0 81559 NVIDIA H100 80GB HBM3\nset 0 util 50\n"
    (folder / "scene").write_text(scene)
    (folder / "prices.toml").write_text(PRICES)
    word = "[policy]\nenforce = true\n" if enforce else ""
    (folder / "whenced.toml").write_text(f'[gpu]\nstand_ins = ["1:8 uvm"]\n{word}')
    place = Instance(folder / "data", free_address())
    words = ["--cgroup", str(scope.directory), "--config", str(folder / "whenced.toml")]
    server = HTTPServer(("127.0.0.1", 0), Posts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Posts.taken.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(folder))
        patch.setenv("WHENCE_FAKE_NVML", str(folder / "scene"))
        patch.setenv("WHENCE_PRICES", str(folder / "prices.toml"))
        hook = f'webhook = "http://127.0.0.1:{server.server_port}/"\n'
        (folder / "collector.toml").write_text(hook)
        (place.data_dir / "run").mkdir(parents=True)
        settings = ("--config", str(folder / "collector.toml"))
        try:
            start(place, replace(COLLECTOR, arguments=settings))
            bring_up(place, words)
        except GroundError as refusal:
            pytest.fail(f"{refusal}\n{last_lines(place)}")
        yield place
    bring_down(place)
    server.shutdown()
    server.server_close()


@contextmanager
def reviewer(scope: Scope, instance: Instance, folder: Path) -> Iterator[Logins]:
    """Let maria log in from afar."""
    account = f"root@{os.uname().nodename}"
    administer(
        instance, "principal", "add", "maria", "--kind", "human", "--role", "approver",
        "--account", account,
    )  # fmt: skip
    administer(instance, "principal", "add", "alice", "--kind", "human")
    folder.mkdir()
    with logins(scope, instance, folder) as made:
        yield made


def claimed(instance: Instance, person: Logins, place: Path, card: str) -> tuple[str, str]:
    """File as alice, approve as maria, claim; return the request and its claim."""
    token = administer(instance, "token", "add", "alice").splitlines()[0]
    (place / "card.yaml").write_text(card)
    as_alice = {**instance.environment, "WHENCE_TOKEN": token}
    whence = str(Path(instance.python).parent / "whence")

    def say(*words: str) -> Any:
        done = subprocess.run(
            [whence, "request", *words, "--json"], env=as_alice, cwd=place,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    name = say("file", "card.yaml")["request"]["summary"]["request_id"]
    said = person.type(f"whence request approve {name}")
    assert "is approved" in said, said
    return name, say("claim", name)["claim_id"]


CARD = """
title: Tune until the money is gone
rationale: Shows that a budget ends.
compute: {count: 1, gpu_model: H100, hours: 0.002}
budget: "8.00"
reviewers: [maria]
"""


def begin(scope: Scope, place: Path, claim: str) -> threading.Thread:
    """Start the job under a claim, in a script, beside this test."""
    os.mknod(place / "uvm", 0o20666, os.makedev(1, 8))
    (place / "uvm").chmod(0o666)
    (place / "train.py").write_text(JOB)
    (place / "train.sh").write_text("python3 train.py 1\necho saved > after\n")

    job = scope.start(["sh", "train.sh"], place, environment={"WHENCE_CLAIM": claim})
    thread = threading.Thread(target=job.communicate, daemon=True)
    thread.start()
    return thread


def actions(whence: Whence, name: str) -> list[tuple[str, str]]:
    """Return (action, phase) of the records about the budget of a request."""
    found = whence.sql(
        f"SELECT action, content FROM audit WHERE subject = '{name}' "  # noqa: S608 -- our own name
        "AND action LIKE 'budget.%' ORDER BY number"
    )
    return [(row["action"], json.loads(row["content"]).get("phase", "")) for row in found]


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_budget_that_is_spent_asks_for_a_checkpoint_then_ends_the_tree(
    scope: Scope, tmp_path_factory: pytest.TempPathFactory, place: Path
) -> None:
    folder = tmp_path_factory.mktemp("enforcing")
    with host(scope, folder, enforce=True) as instance, \
            reviewer(scope, instance, folder / "logins") as person:  # fmt: skip
        whence = Whence(instance)
        name, claim = claimed(
            instance, person, place, f"{CARD}enforce: {{at: 100, signal: USR1, grace: 3s}}\n"
        )
        shown = whence("request", "show", name)["ending"]
        assert (shown["at_percent"], shown["checkpoint_signal"], shown["because"]) == (
            100, "SIGUSR1", "request",
        )  # fmt: skip
        job = begin(scope, place, claim)

        ended = [("budget.end_told", "ended")]
        assert settled(lambda: actions(whence, name)[-1:], ended) == ended, actions(whence, name)
        assert settled(lambda: state(whence, name), "over budget") == "over budget"
        job.join(10)
        phases = [phase for _, phase in actions(whence, name)]
        assert phases == ["", "checkpoint", "terminate", "kill", "ended"]
        assert (place / "checkpoint.pt").exists()
        pids = [int((place / each).read_text()) for each in ("job.pid", "helper.pid")]
        assert [alive(pid) for pid in pids] == [False, False]
        assert [each["how"] for each in whence("request", "show", name)["runs"]] == ["claim"]
        assert whence("audit", "verify")["ok"] is True
        told = [(e["event"], e["content"].get("percent")) for e in Posts.taken]
        assert ("budget.end_ordered", None) in told
        assert {percent for event, percent in told if event == "request.burned"} >= {50, 80, 100}


def test_a_host_that_does_not_obey_ends_nothing_and_says_so(
    scope: Scope, tmp_path_factory: pytest.TempPathFactory, place: Path
) -> None:
    folder = tmp_path_factory.mktemp("refusing")
    with host(scope, folder, enforce=False) as instance, \
            reviewer(scope, instance, folder / "logins") as person:  # fmt: skip
        whence = Whence(instance)
        name, claim = claimed(instance, person, place, CARD)
        assert whence("request", "show", name)["ending"] is None
        administer(instance, "policy", "--enforce-budgets", "on", "--checkpoint-grace-s", "1")
        job = begin(scope, place, claim)
        refused = [("budget.end_told", "refused")]
        assert settled(lambda: actions(whence, name)[-1:], refused) == refused
        assert actions(whence, name)[0] == ("budget.not_enforced", "")
        pid = int((place / "job.pid").read_text())
        assert alive(pid)
        assert not (place / "checkpoint.pt").exists()
        assert "enforce = true" in whence("request", "show", name)["ending"]["told"][-1]
        for each in ("job.pid", "helper.pid"):
            os.kill(int((place / each).read_text()), signal.SIGKILL)
        job.join(10)
