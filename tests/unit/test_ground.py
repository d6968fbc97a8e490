"""`make up` and `make down`, as far as they can be judged without a kernel."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.ground import greeting, link_client, summary
from tools.instance import (
    COLLECTOR,
    GroundError,
    Instance,
    boot_id,
    disk_sentence,
    instance_from,
    last_words,
    log_path,
    record_path,
    running,
    start,
    start_ticks,
    stop,
)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """Describe an instance of which nothing runs."""
    (tmp_path / "run").mkdir()
    (tmp_path / "log").mkdir()
    return Instance(tmp_path, "127.0.0.1:7420")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that has nothing to do with whence."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def record(instance: Instance, **fields: object) -> None:
    """Write what `make up` would have remembered about the collector."""
    record_path(instance, COLLECTOR).write_text(json.dumps(fields))


def test_settings_have_defaults() -> None:
    found = instance_from({})

    assert (str(found.data_dir), found.address) == ("/var/lib/whence", "127.0.0.1:7420")


def test_settings_come_from_the_environment() -> None:
    found = instance_from({"WHENCE_DATA_DIR": "/data/w", "WHENCE_ADDRESS": "[::1]:9000"})

    assert (str(found.data_dir), found.port) == ("/data/w", 9000)


@pytest.mark.parametrize("address", ["7420", "host:", "host:port", ":7420", "h:0", "h:65534"])
def test_address_without_sense_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(GroundError, match="write HOST:PORT"):
        instance_from({"WHENCE_ADDRESS": address})


def test_recorded_process_is_found(instance: Instance) -> None:
    own = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot_id()}
    record(instance, **own)

    found = running(instance, COLLECTOR)

    assert found is not None
    assert found.pid == os.getpid()


@pytest.mark.parametrize("wrong", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_process_id_of_another_is_never_signalled(
    instance: Instance, sleeper: subprocess.Popen[bytes], wrong: dict[str, object]
) -> None:
    """The id was given away since: to a later process, or in a later boot."""
    true = {"start_ticks": start_ticks(sleeper.pid), "boot_id": boot_id()}
    record(instance, pid=sleeper.pid, **{**true, **wrong})

    stopped = stop(instance, COLLECTOR)

    assert (stopped, sleeper.poll()) == (False, None)
    sleeper.communicate(b"\n")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 3}', "77\n"])
def test_record_that_makes_no_sense_means_not_running(instance: Instance, content: str) -> None:
    record_path(instance, COLLECTOR).write_text(content)

    assert running(instance, COLLECTOR) is None


def test_stop_ends_the_recorded_process(
    instance: Instance, sleeper: subprocess.Popen[bytes]
) -> None:
    ticks = start_ticks(sleeper.pid)
    record(instance, pid=sleeper.pid, start_ticks=ticks, boot_id=boot_id())

    stopped = stop(instance, COLLECTOR)

    assert (stopped, start_ticks(sleeper.pid), running(instance, COLLECTOR)) == (True, None, None)


def test_program_that_ends_at_once_is_quoted(instance: Instance, tmp_path: Path) -> None:
    """The sentence that it said last is the reason."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho first >&2\necho 'the port is taken.' >&2\nexit 2\n")
    program.chmod(0o755)
    broken = Instance(instance.data_dir, instance.address, python=str(program))

    with pytest.raises(GroundError, match=r"^collector did not start: the port is taken\.$"):
        start(broken, COLLECTOR)


def test_what_cannot_be_recorded_is_not_left_running(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    patient = Instance(instance.data_dir, instance.address, python=str(program))

    def full(record: Path, text: str) -> int:
        while not (tmp_path / "pid").exists():  # the program runs by now
            time.sleep(0.01)
        raise OSError(errno.ENOSPC, "No space left on device", str(record))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        start(patient, COLLECTOR)

    pid = int((tmp_path / "pid").read_text() or 0)
    assert start_ticks(pid) is None
    assert disk_sentence(instance, caught.value) == (
        f"{record_path(instance, COLLECTOR)} cannot be written (No space left on device): "
        "free space there, or set WHENCE_DATA_DIR to another directory."
    )


def test_last_words_are_those_of_this_start(instance: Instance) -> None:
    log = log_path(instance, COLLECTOR)
    log.write_text("an old complaint\n")
    old_bytes = log.stat().st_size

    assert last_words(instance, COLLECTOR, old_bytes) == "it said nothing."


def test_client_is_put_on_the_path_once(instance: Instance, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "whence"
    link.parent.mkdir()

    first, second = link_client(instance, link), link_client(instance, link)

    assert (first, second) == ("whence", "whence")
    assert link.resolve() == (Path(sys.executable).parent / "whence").resolve()


def test_link_to_a_checkout_that_is_gone_is_replaced(instance: Instance, tmp_path: Path) -> None:
    link = tmp_path / "whence"
    link.symlink_to(tmp_path / "gone" / "whence")

    link_client(instance, link)

    assert link.readlink() == Path(sys.executable).parent / "whence"


def test_name_that_is_taken_is_left_alone(instance: Instance, tmp_path: Path) -> None:
    taken = tmp_path / "whence"
    taken.write_text("another program")

    typed = link_client(instance, taken)

    assert (typed, taken.read_text()) == (
        str(Path(sys.executable).parent / "whence"),
        "another program",
    )


def test_greeting_says_what_the_next_terminal_needs() -> None:
    """Settings that differ from the defaults have to be typed there."""
    said = greeting(Instance(Path("/data/w"), "127.0.0.1:9000"), fresh=True, command="whence")

    assert "  export WHENCE_ADDRESS=127.0.0.1:9000\n  export WHENCE_DATA_DIR=/data/w\n" in said
    assert "http://127.0.0.1:9002/metrics (daemon)" in said


def test_summary_counts_what_was_proven() -> None:
    checklist = "host\n  ✓ root  uid 0\n  ✓ btf  here\ndaemon\n  ✓ canary  seen\n\nall is well\n"

    assert summary(checklist).startswith("3 checks of host, daemon and collector passed")


def test_summary_shows_warnings_with_their_remedies() -> None:
    checklist = (
        "collector\n  ✓ answers  v1\n  ! storage  2 MB free\n             → free space\n"
        "  ✓ stream   here\n             → not of a warning\n\nall is well\n"
    )

    assert summary(checklist).splitlines()[1:] == [
        "  ! storage  2 MB free",
        "             → free space",
    ]


def test_greeting_of_the_defaults_asks_for_nothing() -> None:
    said = greeting(instance_from({}), fresh=False, command="whence")

    assert "export" not in said
