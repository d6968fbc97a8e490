"""The command where things go wrong: one sentence, the right exit status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.unit.client_program import ANSWERS, ask, environment
from tests.unit.client_samples import MODEL, MODEL_DIGEST

from whence.testing import Answers, CannedCollector, serve


@pytest.fixture(scope="module")
def collector() -> Iterator[CannedCollector]:
    with serve(ANSWERS) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(MODEL)
    return path


def test_a_name_that_is_nothing_is_1(collector: CannedCollector) -> None:
    told = ask(collector, "lineag")
    document = json.loads(ask(collector, "lineag", "--json").stdout)

    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "whence: lineag does not exist (did you mean `whence lineage`?); "
        "nothing is known of that path either\n"
    )
    assert document["found"] is False


def test_what_has_no_content_is_one_sentence(collector: CannedCollector, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    fifo, folder = ask(collector, tmp_path / "pipe"), ask(collector, tmp_path)

    assert (fifo.returncode, folder.returncode) == (2, 1)
    assert fifo.stderr.endswith("pipe is a FIFO, which keeps no content: ask for a file\n")
    assert folder.stderr.endswith("holds no file: ask for a folder that does\n")
    assert fifo.stdout + folder.stdout == ""


def test_hostile_names_are_shown_harmless(collector: CannedCollector, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/a\x1b[31m\n\xff.pt"
    Path(os.fsdecode(name)).write_bytes(MODEL)

    told = ask(collector, name)
    document = json.loads(ask(collector, name, "--json").stdout)

    assert told.returncode == 0
    assert "\x1b" not in told.stdout
    assert told.stdout.splitlines()[0].endswith(f"{MODEL_DIGEST[:19]}  24 B")
    assert document["path"] == f"{tmp_path}/a\x1b[31m\n\\xff.pt"


def test_nobody_answers(model: Path) -> None:
    with serve(ANSWERS) as running:
        address = running.address

    done = ask(running, model)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"whence: no collector answers at {address}: "
        "start it with `make up` or set WHENCE_ADDRESS\n"
    )


def test_bad_options_are_2(collector: CannedCollector) -> None:
    since = ask(collector, "log", "--since", "soon")
    address = ask(collector, "log", "--address", "host:port")

    assert (since.returncode, address.returncode) == (2, 2)
    assert since.stderr == (
        "whence: --since 'soon' is no time: write 30m, 2h, 3d or 2026-11-23T10:00\n"
    )


def test_bad_sql_is_2_and_refused_sql_is_4(collector: CannedCollector) -> None:
    refusing = Answers(failures={"Sql": (grpc.StatusCode.PERMISSION_DENIED, "only SELECT")})

    bad, empty = ask(collector, "sql", "SELEC"), ask(collector, "sql", " ")
    with serve(refusing) as running:
        refused = ask(running, "sql", "DROP TABLE x", "--json")

    assert (bad.returncode, empty.returncode, refused.returncode) == (2, 2, 4)
    assert refused.stderr == "whence: only SELECT\n"
    assert refused.stdout == ""


def test_sql_that_is_not_utf8_is_no_traceback(collector: CannedCollector) -> None:
    done = ask(collector, "sql", b"SELECT '\xff'")

    assert done.returncode == 2


def test_doctor_without_a_collector_is_3() -> None:
    with serve(ANSWERS) as running:
        pass

    assert ask(running, "doctor").returncode == 3


def test_a_closed_pipe_is_quiet(collector: CannedCollector) -> None:
    command = [sys.executable, "-m", "whence", "log"]
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        command,
        env=environment(collector.address),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_one_sentence(collector: CannedCollector) -> None:
    with Path("/dev/full").open("w") as full:
        done = ask(collector, "log", capture_output=False, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 4
    assert done.stderr == (
        "whence: the answer could not be written (No space left on device): check where it goes\n"
    )


def test_closed_streams_are_no_fault(collector: CannedCollector) -> None:
    shell = ["sh", "-c", '"$@" <&-; echo $?; "$@" >&-; echo $?', "sh"]
    command = [*shell, sys.executable, "-m", "whence", "sql", "-"]

    done = subprocess.run(
        command,
        env=environment(collector.address),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    assert done.stdout == "2\n2\n"
    assert (
        done.stderr.splitlines()
        == ["whence: the statement is empty: give a SELECT over the views, such as runs"] * 2
    )


def test_a_fault_of_our_own_is_one_sentence() -> None:
    code = "import sys, whence.options as o; o.split_command = None\n"
    code += "from whence.cli import main; sys.exit(main())"

    done = subprocess.run(
        [sys.executable, "-c", code, "log"],
        env=environment("127.0.0.1:1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr == (
        "whence: a fault of whence itself (TypeError: 'NoneType' object is not callable): "
        "please report it with what WHENCE_TRACEBACK=1 adds\n"
    )


def test_an_interrupt_is_130(collector: CannedCollector) -> None:
    command = [sys.executable, "-m", "whence", "sql", "-"]
    with subprocess.Popen(
        command, env=environment(collector.address), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        # Asleep in read(2) of the statement: only then is it past its imports.
        _wait_until_it_reads(running.pid)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)

    assert (running.returncode, told) == (130, b"")


def _wait_until_it_reads(pid: int) -> None:
    for _ in range(1000):
        words = Path(f"/proc/{pid}/wchan").read_text()
        if "pipe" in words:
            return
        time.sleep(0.01)
    raise AssertionError("the command never read its standard input")


def test_output_that_cannot_show_our_letters(collector: CannedCollector, model: Path) -> None:
    command = [sys.executable, "-m", "whence", str(model)]
    plain = environment(collector.address) | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    done = subprocess.run(command, env=plain, capture_output=True, timeout=60, check=False)

    assert done.returncode == 0
    assert b"\\xb7 succeeded" in done.stdout
