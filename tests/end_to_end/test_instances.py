"""Two instances on one host: neither touches the other, and twice up is harmless."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.addresses import free_address
from tests.asking import Whence
from tests.scope import Scope
from tools.instance import COLLECTOR, DAEMON, GroundError, Instance, bring_down, bring_up, running

pytestmark = pytest.mark.kernel


@pytest.fixture
def second(tmp_path: Path, scope: Scope) -> Iterator[tuple[Instance, list[str]]]:
    """Describe an instance that nothing runs in, and stop it afterwards if need be."""
    settings = tmp_path / "whenced.toml"
    settings.touch()
    other = Instance(tmp_path, free_address())
    yield other, ["--cgroup", str(scope.directory), "--config", str(settings)]
    bring_down(other)


def test_second_instance_comes_and_goes_beside_the_first(
    instance: Instance, whence: Whence, second: tuple[Instance, list[str]]
) -> None:
    other, arguments = second
    before = (running(instance, COLLECTOR), running(instance, DAEMON))

    assert bring_up(other, arguments)[0] is True
    assert bring_down(other) == ["whenced", "collector"]
    assert (running(instance, COLLECTOR), running(instance, DAEMON)) == before
    assert whence.run("log").code == 0


def test_up_again_starts_nothing(instance: Instance) -> None:
    before = (running(instance, COLLECTOR), running(instance, DAEMON))

    started, _ = bring_up(instance)

    assert started is False
    assert (running(instance, COLLECTOR), running(instance, DAEMON)) == before


def test_instances_do_not_record_each_other(
    instance: Instance, whence: Whence, second: tuple[Instance, list[str]]
) -> None:
    """The second one's own files never show up as the work of anybody."""
    other, arguments = second
    bring_up(other, arguments)
    bring_down(other)

    seen = whence.sql(
        "SELECT path FROM file_accesses"  # noqa: S608 - a path of our own
        f" WHERE starts_with(path, '{other.data_dir}/collector/')"
    )
    assert seen == []


def test_taken_address_is_a_sentence_and_leaves_nothing_running(
    instance: Instance, tmp_path: Path
) -> None:
    late = Instance(tmp_path, instance.address)

    with pytest.raises(GroundError, match="collector did not start") as refusal:
        bring_up(late)

    assert ("Traceback" in str(refusal.value), bring_down(late)) == (False, [])


def test_daemon_without_root_is_a_sentence(tmp_path: Path) -> None:
    """An unmapped user namespace: not root, yet still able to read the interpreter."""
    command = [sys.executable, "-m", "whenced", "--data-dir", str(tmp_path)]

    started = subprocess.run(
        ["unshare", "--user", *command], capture_output=True, text=True, check=False
    )

    assert (started.returncode, len(started.stderr.strip().splitlines())) == (2, 1)
    assert "root" in started.stderr
