"""What is lost between the daemon and the collector, or never read: it is said, with the amount.

Such rows have no name on them. The daemon confesses them for the time since it counted rows last,
so that runs before may be marked as well; never is the one that lost left out.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from tests.apart import apart
from tests.asking import Whence, settled
from tests.scope import Scope
from tools.instance import COLLECTOR, DAEMON, Instance, running, start, stop

pytestmark = pytest.mark.kernel

# The least that they may be.
SETTINGS = "spool_limit_bytes = 1048576\nspool_memory_bytes = 1048576\n"
JOBS = ("within", "flood")
MANY = """\
import os
for number in range({files}):
    os.close(os.open(f'{prefix}{{number}}', os.O_CREAT | os.O_WRONLY))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Scope]]:
    """Start an instance of its own, which may be hurt."""
    with apart("way", tmp_path_factory.mktemp("way"), SETTINGS) as started:
        yield started


def told(whence: Whence, place: Path, reason: str) -> dict[str, tuple[bool, bool]]:
    """Return (complete, whether the reason is the one) by the last word of the job's command.

    A program whose birth was lost is a run of its own: those are left out.
    """
    rows = whence.sql(
        f"SELECT argv, complete, incomplete_reason FROM runs WHERE cwd = '{place}'"  # noqa: S608 - ours
    )
    return {
        row["argv"][-1]: (row["complete"], reason in (row["incomplete_reason"] or ""))
        for row in rows
        if row["argv"][-1] in JOBS
    }


def children(pid: int) -> list[int]:
    """Return the hashers among the children of a daemon."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += [int(each) for each in (task / "children").read_text().split()]
    return [each for each in found if b"whenced.hasher" in command_of(each)]


def command_of(pid: int) -> bytes:
    """Return the argument vector as the kernel shows it; empty for one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def daemon_of(instance: Instance) -> int:
    """Return the daemon's process id."""
    daemon = running(instance, DAEMON)
    assert daemon is not None
    return daemon.pid


def batches_of(instance: Instance) -> list[Path]:
    """Return the batches in the spool as they are numbered."""
    return sorted(
        (instance.data_dir / "daemon" / "spool").glob("*.batch"),
        key=lambda path: int(path.stem.rpartition("-")[2]),
    )


def many(files: int, prefix: str) -> list[str]:
    """Return a command that makes files; its last word is the prefix."""
    return ["python3", "-c", MANY.format(files=files, prefix=prefix), prefix]


def test_a_batch_that_never_comes_marks_who_ran_then(
    own: tuple[Instance, Scope], place: Path
) -> None:
    """A batch file vanishes from the spool while the collector is away."""
    instance, scope = own
    whence = Whence(instance)
    ask = partial(told, whence, place, "never came")
    stop(instance, COLLECTOR)
    scope.run(["sh", "-c", "for i in 1 2 3 4; do touch f$i; sleep 0.5; done", "within"], place)
    assert settled(lambda: len(batches_of(instance)) >= 5, expected=True)
    batches = batches_of(instance)
    batches[2].unlink()

    start(instance, COLLECTOR)

    expected = {"within": (False, True)}
    assert settled(ask, expected) == expected
    (lost,) = whence.sql("SELECT lost, reason FROM losses WHERE record_class = 'batch'")
    number = int(batches[2].stem.rpartition("-")[2])
    assert lost["lost"] == 1
    assert f"batches {number} to {number} of" in lost["reason"]


def test_rows_that_the_spool_had_no_room_for_mark_who_ran_then(
    own: tuple[Instance, Scope], place: Path
) -> None:
    """Disk and memory for waiting batches are full while the collector is away."""
    instance, scope = own
    whence = Whence(instance)
    ask = partial(told, whence, place, "spool")
    stop(instance, COLLECTOR)
    scope.run(many(40_000, "flood"), place)
    start(instance, COLLECTOR)

    expected = {"flood": (False, True)}
    assert settled(ask, expected) == expected
    ((lost,),) = (
        row.values()
        for row in whence.sql(
            "SELECT sum(lost)::BIGINT AS n FROM losses WHERE record_class = 'row'"
        )
    )
    assert lost > 1000


def outputs(whence: Whence, place: Path) -> dict[str, str | None]:
    """Return artifact states of what was written in a place, by name."""
    rows = whence.sql(
        f"SELECT path, artifact_state FROM run_outputs WHERE path LIKE '{place}/%'"  # noqa: S608 - ours
    )
    return {row["path"].rpartition("/")[2]: row["artifact_state"] for row in rows}


def test_a_hasher_that_is_killed_is_replaced(own: tuple[Instance, Scope], place: Path) -> None:
    instance, scope = own
    whence = Whence(instance)
    (hasher,) = children(daemon_of(instance))

    os.kill(hasher, signal.SIGKILL)
    scope.run(["sh", "-c", "echo content > out; echo other > more"], place)

    expected = {"out": "verified", "more": "verified"}
    assert settled(partial(outputs, whence, place), expected) == expected
    assert children(daemon_of(instance)) != [hasher]


@contextmanager
def no_hasher(pid: int) -> Iterator[None]:
    """Kill every hasher of that daemon as it appears."""
    over = threading.Event()

    def kill_all() -> None:
        while not over.wait(0.005):
            for each in children(pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    yield
    over.set()
    killer.join()


def test_without_a_hasher_edges_arrive_and_digests_follow_or_have_a_reason(
    own: tuple[Instance, Scope], place: Path
) -> None:
    """Dead while it lasts: no digest is made up; each file has one later, or says why not."""
    instance, scope = own
    whence = Whence(instance)
    with no_hasher(daemon_of(instance)):
        scope.run(["sh", "-c", "echo content > out; echo brief > gone"], place)
        scope.run(["rm", "gone"], place)
        meanwhile = settled(lambda: set(outputs(whence, place)), {"out", "gone"})

    assert "out" in meanwhile
    expected = {"out": "verified"}
    assert (
        settled(lambda: {k: v for k, v in outputs(whence, place).items() if k == "out"}, expected)
        == expected
    )
    assert outputs(whence, place).get("gone") in (None, "unhashed")
