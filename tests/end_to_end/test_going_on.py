"""The daemon dies or is restarted while jobs run: the next one goes on, and nothing is missing."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.addresses import free_address
from tests.asking import Whence, settled
from tests.end_to_end.test_gaps import Runs, daemon_in, runs_of
from tests.scope import Scope
from tools.instance import DAEMON, Instance, bring_down, bring_up, detach, reap, running, start

from whenced.kernel_objects import Pins

pytestmark = pytest.mark.kernel

COPIES = 'for n in 1 2 3 4 5; do echo "$n" > "a$n"; cat "a$n" > "b$n"; done'
Edges = dict[str, tuple[str, int, int, str | None]]


@pytest.fixture(scope="module")
def own_scope() -> Iterator[Scope]:
    """Make a control group: another daemon's death is nothing to the session's."""
    group = Scope.create(f"whence-goes-on-{os.getpid()}")
    yield group
    group.remove()


@pytest.fixture
def own_instance(own_scope: Scope, tmp_path: Path) -> Iterator[Instance]:
    """Start an instance whose daemon may be killed."""
    place = Instance(tmp_path / "data", free_address())
    place.data_dir.mkdir()
    (place.data_dir / "whenced.toml").touch()
    bring_up(place, daemon_in(own_scope, place).arguments)
    yield place
    bring_down(place)


def end(instance: Instance, how: signal.Signals) -> None:
    """End the daemon by a signal."""
    daemon = running(instance, DAEMON)
    assert daemon is not None
    os.kill(daemon.pid, how)
    reap(daemon.pid)


def reads_of(whence: Whence, place: Path) -> Edges:
    """Return (state, calls, bytes, producer's command) by path of what was read in a place."""
    query = (
        "SELECT a.path, a.artifact_state AS state, sum(a.ops) AS ops, sum(a.bytes) AS bytes, "  # noqa: S608 -- a folder of ours
        "min(p.command) AS made_by FROM file_accesses a LEFT JOIN (SELECT o.path, r.command FROM "
        f"run_outputs o JOIN runs r USING (run_id)) p ON p.path = a.path "
        f"WHERE a.op = 'read' AND starts_with(a.path, '{place}/') GROUP BY ALL"
    )
    return {
        Path(row["path"]).name: (row["state"], row["ops"], row["bytes"], row["made_by"])
        for row in whence.sql(query)
    }


def gaps_of(whence: Whence) -> list[dict[str, object]]:
    """Return the times that nobody observed."""
    return whence.sql("SELECT * FROM unobserved_times")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_jobs_are_whole_although_the_daemon_was_away(
    own_instance: Instance, own_scope: Scope, place: Path, how: signal.Signals
) -> None:
    """Before its end, while it was away, and afterwards: edges, counts, ends."""
    whence = Whence(own_instance)
    through = own_scope.start(["sleep", "600"], place)
    within = own_scope.start(["sleep", "601"], place)
    (place / "one").mkdir()
    (place / "two").mkdir()
    own_scope.run(["sh", "-c", COPIES], place / "one")

    end(own_instance, how)
    within.terminate()
    within.communicate(timeout=30)
    own_scope.run(["sh", "-c", COPIES], place / "two")
    start(own_instance, daemon_in(own_scope, own_instance))
    through.terminate()
    through.communicate(timeout=30)

    runs: Runs = {"sleep 600": ("killed", True), "sleep 601": ("killed", True)}
    assert settled(partial(runs_of, whence, place), runs) == runs
    edges: Edges = {f"a{n}": ("verified", 2, 2, COPIES) for n in range(1, 6)}
    for folder in ("one", "two"):
        found = partial(reads_of, whence, place / folder)
        assert settled(found, edges) == edges
    assert gaps_of(whence) == []


def test_a_capture_that_is_detached_ends_and_the_gap_is_told(
    own_instance: Instance, own_scope: Scope, place: Path
) -> None:
    whence = Whence(own_instance)
    through = own_scope.start(["sleep", "602"], place)
    began: Runs = {"sleep 602": ("running", True)}
    assert settled(partial(runs_of, whence, place), began) == began
    pins = Pins.of(own_instance.data_dir / "daemon").instance
    end(own_instance, signal.SIGKILL)
    stood = pins.is_dir()
    detach(own_instance)

    assert (stood, pins.is_dir()) == (True, False)
    start(own_instance, daemon_in(own_scope, own_instance))
    through.terminate()
    through.communicate(timeout=30)
    expected: Runs = {"sleep 602": ("killed", False)}
    assert settled(partial(runs_of, whence, place), expected) == expected


def test_a_daemon_that_lives_keeps_its_capture(own_instance: Instance) -> None:
    words = ["-m", "whenced", "--detach", "--data-dir", str(own_instance.data_dir)]
    done = subprocess.run([own_instance.python, *words], capture_output=True, text=True, check=True)

    assert (done.stdout, Pins.of(own_instance.data_dir / "daemon").instance.is_dir()) == (
        "a daemon runs: its capture is left alone\n",
        True,
    )
