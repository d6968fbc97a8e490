"""Folding old runs: every answer about content stays, detail goes, nothing young is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.asked import Asked, pipeline
from tests.unit.traced import Machine

from whence_collector.derive import Deriver
from whence_collector.retention import Folded, fold
from whence_collector.store import Store

FAR_FUTURE_NS = 1 << 62
VIEWS = ("runs", "run_inputs", "run_outputs", "run_dependencies", "artifacts")


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    store = Store(tmp_path / "whence.duckdb")
    try:
        yield Asked(Machine(store, Deriver))
    finally:
        store.close()


def rows(asked: Asked, sql: str) -> list[tuple[Any, ...]]:
    with asked.machine.store.cursor() as reader:
        return reader.rows(sql)


def folded(asked: Asked, before_ns: int = FAR_FUTURE_NS, limit: int = 100) -> Folded:
    return asked.machine.store.write(lambda w: fold(w, before_ns, 1, limit)).result()


def told(asked: Asked) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the views but touches of libraries, which are folded away."""
    found = {view: sorted(rows(asked, f"FROM {view}"), key=str) for view in VIEWS}
    found["run_inputs"] = [row for row in found["run_inputs"] if "library" not in row]
    return found


def test_answers_about_content_stay_the_same(asked: Asked) -> None:
    pipeline(asked)
    before, reply = told(asked), asked.find("model")
    done = folded(asked)
    after = asked.find("model")

    assert done.runs == len(rows(asked, "FROM runs"))
    assert told(asked) == before
    reply.productions[0].library_count = 0  # folded
    assert after.productions[0].inputs == reply.productions[0].inputs
    assert after.productions[0].root_inputs == reply.productions[0].root_inputs
    assert after.productions[0].ancestry == reply.productions[0].ancestry


def test_increments_become_one_row_with_their_sums(asked: Asked) -> None:
    host = asked.host
    writer = host.spawn(None, "python", "train.py")
    for _ in range(50):
        host.write(writer, 1, "/d/log.csv")
    host.end(writer)
    host.digest(1, "log", path="/d/log.csv")
    asked.machine.deliver()
    sums = "SELECT sum(ops), sum(bytes), min(first_unix_ns), max(last_unix_ns) FROM access"
    before = rows(asked, sums)
    done = folded(asked)

    assert (done.rows_before, done.rows_after) == (50, 1)
    assert rows(asked, sums) == before


def test_helpers_and_libraries_go_and_first_programs_stay(asked: Asked) -> None:
    host = asked.host
    job = host.spawn(None, "python", "train.py")
    helper = host.spawn(job, "gcc", "-c")
    host.read(helper, 5, "/usr/lib/libc.so.6")
    host.read(job, 1, "/d/raw.csv")
    host.end(helper, job)
    asked.machine.deliver()
    folded(asked)

    assert rows(asked, "SELECT process_id FROM process") == [(job.process_id,)]
    assert [path for (path,) in rows(asked, "SELECT path FROM file_accesses")] == ["/d/raw.csv"]


def test_what_runs_or_is_young_is_left_alone(asked: Asked) -> None:
    host = asked.host
    old = host.spawn(None, "python", "old.py")
    host.read(old, 1, "/usr/lib/libc.so.6")
    host.end(old)
    between_ns = host.tick()
    young = host.spawn(None, "python", "young.py")
    host.read(young, 1, "/usr/lib/libc.so.6")
    host.end(young)
    running = host.spawn(None, "python", "running.py")
    host.read(running, 1, "/usr/lib/libc.so.6")
    asked.machine.deliver()
    done = folded(asked, between_ns)

    assert (done.runs, done.rows_after) == (1, 0)
    assert {row[0] for row in rows(asked, "SELECT process_id FROM access")} == {
        young.process_id,
        running.process_id,
    }


def test_a_step_waits_for_what_it_is_a_step_of(asked: Asked) -> None:
    host = asked.host
    script = host.spawn(None, "sh", "all.sh")
    step = host.spawn(script, "python", "step.py")
    host.read(step, 1, "/usr/lib/libc.so.6")
    host.end(step)
    asked.machine.deliver()

    assert folded(asked) == Folded(0, 0, 0)


def test_it_goes_on_where_it_stopped(asked: Asked) -> None:
    for number in range(5):
        job = asked.host.spawn(None, "python", f"job{number}.py")
        asked.host.end(job)
    asked.machine.deliver()
    done = [folded(asked, limit=2).runs for _ in range(4)]

    assert done == [2, 2, 1, 0]
