"""The daemon dies or is stopped while jobs run: what nobody saw is said, on the right runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.addresses import free_address
from tests.asking import Whence, settled
from tests.scope import Scope
from tools.instance import DAEMON, Instance, Program, bring_down, bring_up, running, start, stop

pytestmark = pytest.mark.kernel

Runs = dict[str, tuple[str, bool]]


@pytest.fixture(scope="module")
def own_scope() -> Iterator[Scope]:
    """Make a control group: another daemon's death is nothing to the session's."""
    group = Scope.create(f"whence-gaps-{os.getpid()}")
    yield group
    group.remove()


@pytest.fixture(scope="module")
def own_instance(own_scope: Scope, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Start an instance whose daemon may be killed."""
    place = Instance(tmp_path_factory.mktemp("gaps"), free_address())
    (place.data_dir / "whenced.toml").write_text("keep_capturing = false\n")
    bring_up(place, daemon_in(own_scope, place).arguments)
    yield place
    bring_down(place)


def daemon_in(scope: Scope, instance: Instance) -> Program:
    """Return the daemon as it is started for that group."""
    settings = instance.data_dir / "whenced.toml"
    arguments = ("--cgroup", str(scope.directory), "--config", str(settings))
    return Program(DAEMON.name, DAEMON.module, arguments)


def kill(instance: Instance) -> None:
    """End the daemon as the kernel would for want of memory."""
    daemon = running(instance, DAEMON)
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    os.waitpid(daemon.pid, 0)  # its last thread is gone, and with it the socket


def end(instance: Instance) -> None:
    """End the daemon as a person would."""
    stop(instance, DAEMON)


def runs_of(whence: Whence, place: Path) -> Runs:
    """Return (status, complete) by command of the runs in a place."""
    rows = whence.sql(f"SELECT command, status, complete FROM runs WHERE cwd = '{place}'")  # noqa: S608 -- a folder of ours
    return {row["command"]: (row["status"], row["complete"]) for row in rows}


@pytest.mark.parametrize("how", [kill, end])
def test_runs_that_lived_unobserved_say_so(
    own_instance: Instance,
    own_scope: Scope,
    place: Path,
    how: Callable[[Instance], None],
) -> None:
    whence = Whence(own_instance)
    own_scope.run(["cat", "/etc/hostname"], place)
    through = own_scope.start(["sleep", "600"], place)
    within = own_scope.start(["sleep", "601"], place)
    expected: Runs = {
        "cat /etc/hostname": ("succeeded", True),
        "sleep 600": ("running", True),
        "sleep 601": ("running", True),
    }
    assert settled(partial(runs_of, whence, place), expected) == expected

    how(own_instance)
    within.terminate()
    within.communicate(timeout=30)
    start(own_instance, daemon_in(own_scope, own_instance))
    own_scope.run(["cat", "/etc/os-release"], place)
    through.terminate()
    through.communicate(timeout=30)

    expected = {
        "cat /etc/hostname": ("succeeded", True),
        "sleep 600": ("killed", False),
        "sleep 601": ("unknown", False),
        "cat /etc/os-release": ("succeeded", True),
    }
    assert settled(partial(runs_of, whence, place), expected) == expected
