"""When something is missing or down: a sentence, the documented exit code, and nothing lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Said, Whence, settled
from tests.end_to_end.jobs import RAW, made_from, write_job
from tests.scope import Scope
from tools.instance import COLLECTOR, DAEMON, Instance, running, start, stop

pytestmark = pytest.mark.kernel

UNKNOWN = "blake3:" + "f" * 64


def in_one_sentence(said: Said) -> bool:
    """Whether a person was told something short, without a traceback."""
    return "Traceback" not in said.stderr and 1 <= len(said.stderr.strip().splitlines()) <= 3


def test_unknown_digest_is_not_found(whence: Whence) -> None:
    said = whence.run(UNKNOWN)

    assert (said.code, "Traceback" in said.stderr) == (1, False)


def test_unknown_content_says_what_is_known_of_the_path(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW)
    scope.run(["python3", "stage.py", "model.bin", "raw.csv"], place)
    edge = {("model.bin", "raw.csv")}
    assert settled(partial(made_from, whence, place), edge) == edge
    (place / "model.bin").write_bytes(b"changed by something that nobody watched" * 3)

    said = whence.run(place / "model.bin")

    assert said.code == 1
    assert "stage.py" in said.stdout + said.stderr


def test_missing_file_is_a_sentence(whence: Whence, place: Path) -> None:
    said = whence.run(place / "nothing.pt")

    assert (said.code, in_one_sentence(said)) == (1, True)


def test_unreachable_collector_exits_with_three(whence: Whence) -> None:
    said = whence.run(UNKNOWN, address="127.0.0.1:1")

    assert (said.code, in_one_sentence(said)) == (3, True)


def test_data_that_sql_would_change_is_refused(whence: Whence) -> None:
    said = whence.run("sql", "DELETE FROM runs")

    assert (said.code, in_one_sentence(said)) == (4, True)


def test_what_happens_while_the_collector_is_down_arrives_later(
    scope: Scope, instance: Instance, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW)
    expected = {("model.bin", "prepared.txt"), ("prepared.txt", "raw.csv")}

    scope.run(["python3", "stage.py", "prepared.txt", "raw.csv"], place)
    stop(instance, COLLECTOR)
    scope.run(["python3", "stage.py", "model.bin", "prepared.txt"], place)
    code_while_down = whence.run("log").code
    start(instance, COLLECTOR)

    assert settled(partial(made_from, whence, place), expected) == expected
    assert (code_while_down, running(instance, DAEMON) is not None) == (3, True)
