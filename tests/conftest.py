"""What tests are given: a control group, an instance that captures it, and the command to ask.

May not skip: a machine that cannot run a test fails it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.addresses import free_address
from tests.asking import Whence
from tests.scope import Scope
from tools.instance import COLLECTOR, DAEMON, GroundError, Instance, bring_down, bring_up, log_path


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks; --strict-markers refuses all others."""
    config.addinivalue_line("markers", "kernel: loads programs into the running kernel")


def last_lines(instance: Instance) -> str:
    """Return the ends of both logs: what a failure to start is explained by."""
    logs = [log_path(instance, program) for program in (COLLECTOR, DAEMON)]
    return "\n".join(
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        for log in logs
        if log.exists()
    )


@pytest.fixture(scope="session")
def scope() -> Iterator[Scope]:
    """Make a control group of this test session; what is left in it is killed at the end."""
    group = Scope.create(f"whence-test-{os.getpid()}")
    yield group
    group.remove()


@pytest.fixture(scope="session")
def scoped_cgroup(scope: Scope) -> Path:
    """Return the directory of the session's control group."""
    return scope.directory


@pytest.fixture
def run_in_scope(scope: Scope) -> Callable[..., str]:
    """Return ``run(command, cwd, user=None, environment=None)``: see Scope.run."""
    return scope.run


@pytest.fixture(scope="session")
def instance(scope: Scope, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Start a real collector and a real daemon that captures the session's control group.

    The canary has passed. Never skips: where the kernel cannot, the test fails.
    """
    place = Instance(tmp_path_factory.mktemp("instance"), free_address())
    settings = place.data_dir / "whenced.toml"
    settings.touch()  # so that the machine's own settings have no say
    try:
        arguments = ["--cgroup", str(scope.directory), "--config", str(settings)]
        bring_up(place, arguments)
    except GroundError as refusal:
        pytest.fail(f"{refusal}\n{last_lines(place)}")
    yield place
    bring_down(place)


@pytest.fixture
def whence(instance: Instance) -> Whence:
    """Return the command `whence`, asking the session's instance."""
    return Whence(instance)


@pytest.fixture
def place() -> Iterator[Path]:
    """Make a working directory that every user may enter and write, removed afterwards.

    pytest's own are closed to other users.
    """
    directory = Path(tempfile.mkdtemp(prefix="whence-test-")).resolve()
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)
