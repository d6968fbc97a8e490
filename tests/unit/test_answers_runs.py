"""Runs, lineage, SQL and status, asked of a real database that was fed by a Deriver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.asked import Asked, pipeline
from tests.unit.traced import Machine, digest_of

from whence_collector.answers_runs import PAGE_RUNS
from whence_collector.derive import Deriver
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.store import Store
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    store = Store(tmp_path / "whence.duckdb")
    try:
        yield Asked(Machine(store, Deriver))
    finally:
        store.close()


def test_list_hides_steps_sessions_canaries_and_runs_without_output(asked: Asked) -> None:
    pipeline(asked)
    host = asked.host
    host.spawn(None, "ls")
    canary = host.spawn(None, "sh", "-c", "x", "whence-canary:1")
    host.write(canary, 50, "/d/canary")
    asked.machine.deliver()
    listed = {
        name: [run.command for run in asked.ask("ListRuns", request).runs]
        for name, request in {
            "plain": wire.ListRunsRequest(),
            "steps": wire.ListRunsRequest(steps=True),
            "all": wire.ListRunsRequest(all=True),
        }.items()
    }

    assert listed == {
        "plain": ["sh all.sh"],
        "steps": ["python evaluate.py", "python train.py", "python prepare.py", "sh all.sh"],
        "all": ["ls", "sh all.sh"],
    }


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"user": "ada"}, 1),
        ({"user": "1000"}, 1),
        ({"user": "eve"}, 0),
        ({"status": "succeeded"}, 1),
        ({"status": "failed"}, 0),
        ({"since_unix_ns": 1}, 1),
        ({"since_unix_ns": 2**62}, 0),
        ({"project": "x"}, 0),
        ({"gpu": True}, 0),
    ],
)
def test_list_filters(asked: Asked, changes: dict[str, Any], count: int) -> None:
    pipeline(asked)
    reply = asked.ask("ListRuns", wire.ListRunsRequest(**changes))

    assert count == len(reply.runs)


def test_list_tells_when_more_matched(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.ask("ListRuns", wire.ListRunsRequest(steps=True, limit=2))

    assert (len(reply.runs), reply.truncated) == (2, True)


def test_list_looks_past_many_runs_without_output(asked: Asked) -> None:
    pipeline(asked)
    for nth in range(PAGE_RUNS + 1):
        asked.host.spawn(None, "ls", str(nth))
    asked.machine.deliver()
    reply = asked.ask("ListRuns", wire.ListRunsRequest(limit=2))

    assert ([run.command for run in reply.runs], reply.truncated) == (["sh all.sh"], False)


def test_list_of_an_unknown_status(asked: Asked) -> None:
    with pytest.raises(InvalidRequest, match="'done' does not exist"):
        asked.ask("ListRuns", wire.ListRunsRequest(status="done"))


def test_script_has_the_outputs_and_outer_inputs_of_its_steps(asked: Asked) -> None:
    pipeline(asked)
    detail = asked.ask("GetRun", wire.GetRunRequest(run_id=asked.run_id("sh all.sh")))

    assert [step.command for step in detail.steps] == [
        "python prepare.py",
        "python train.py",
        "python evaluate.py",
    ]
    assert [file.path for file in detail.inputs] == [
        "/d/raw.csv",
        "/d/train.py",
        "/d/afterwards.csv",
    ]
    assert [file.path for file in detail.outputs] == [
        "/d/prepared.npz",
        "/d/model.pt",
        "/d/metrics.json",
    ]
    assert len(detail.processes) == 4
    assert detail.library_count == 1


def test_run_by_prefix_with_all_classes(asked: Asked) -> None:
    pipeline(asked)
    prefix = asked.run_id("python train.py")[:10]
    detail = asked.ask("GetRun", wire.GetRunRequest(run_id=prefix, all_classes=True))

    assert (
        detail.run.command,
        detail.run.kind,
        detail.run.status,
    ) == ("python train.py", "step", "succeeded")
    assert "/usr/lib/libc.so.6" in [file.path for file in detail.inputs]
    assert asked.run_id("sh all.sh") == detail.run.parent_run_id


@pytest.mark.parametrize(
    ("run_id", "error"), [("f" * 16, NotFound), ("abc", InvalidRequest), ("zzzz", InvalidRequest)]
)
def test_run_that_does_not_exist(asked: Asked, run_id: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=run_id):
        asked.ask("GetRun", wire.GetRunRequest(run_id=run_id))


def test_id_of_a_run_that_was_joined_to_another_stays_good(asked: Asked) -> None:
    host = asked.host
    script = host.spawn(None, "bash", "x.sh")
    cat, sort = host.spawn(script, "cat", "/raw"), host.spawn(script, "sort")
    asked.machine.deliver()
    old = asked.run_id("sort")
    host.pipe(cat, sort)
    asked.machine.deliver()
    detail = asked.ask("GetRun", wire.GetRunRequest(run_id=old))

    assert detail.run.command == "cat /raw | sort"


def drawn(reply: wire.LineageReply) -> set[tuple[str, str]]:
    """Return edges as (from, to) in the direction of the data."""
    names = {run.run_id: run.command for run in reply.runs}
    names |= {file.key: file.path for file in reply.files}
    found = set()
    for edge in reply.edges:
        run, other = names[edge.run_id], names[edge.file_key or edge.to_run_id]
        found.add((run, other) if edge.write else (other, run))
    return found


def test_lineage_above_a_content(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.ask("Lineage", wire.LineageRequest(start=digest_of("model")))

    assert {
        ("/d/raw.csv", "python prepare.py"),
        ("python prepare.py", "/d/prepared.npz"),
        ("/d/prepared.npz", "python train.py"),
        ("/d/train.py", "python train.py"),
        ("python train.py", "/d/model.pt"),
    } == drawn(reply)
    assert {"/d/raw.csv", "/d/train.py"} == {file.path for file in reply.files if file.root}


def test_lineage_below_a_content(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.ask("Lineage", wire.LineageRequest(start=digest_of("raw"), downstream=True))

    assert {
        ("/d/raw.csv", "python prepare.py"),
        ("python prepare.py", "/d/prepared.npz"),
        ("/d/prepared.npz", "python train.py"),
        ("python train.py", "/d/model.pt"),
        ("/d/model.pt", "python evaluate.py"),
        ("python evaluate.py", "/d/metrics.json"),
    } == drawn(reply)


def test_lineage_of_a_run_to_a_depth(asked: Asked) -> None:
    pipeline(asked)
    request = wire.LineageRequest(start=asked.run_id("python evaluate.py"), depth=2)
    reply = asked.ask("Lineage", request)

    assert {"python evaluate.py", "python train.py"} == {run.command for run in reply.runs}
    assert not reply.truncated


def test_lineage_that_is_cut_says_so(asked: Asked) -> None:
    pipeline(asked)
    request = wire.LineageRequest(start=asked.run_id("python evaluate.py"), limit=1)
    reply = asked.ask("Lineage", request)

    assert reply.truncated


def test_lineage_shows_pipes_between_runs(asked: Asked) -> None:
    host = asked.host
    feeder, reader = host.spawn(None, "cat", "/raw"), host.spawn(None, "python", "x.py")
    host.pipe(feeder, reader)
    asked.machine.deliver()
    reply = asked.ask("Lineage", wire.LineageRequest(start=asked.run_id("python x.py")))

    assert {("cat /raw", "python x.py")} == drawn(reply)


def test_lineage_of_nothing(asked: Asked) -> None:
    with pytest.raises(NotFound, match="no content and no run"):
        asked.ask("Lineage", wire.LineageRequest(start="abcdef12"))


def test_status_counts(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.ask("Status", wire.StatusRequest())

    assert (reply.version, reply.rows["process"], reply.rows["run"]) == ("1.2.3", 4, 4)
    assert not reply.HasField("storage_error")


def test_sql_reads_the_views_in_chunks(asked: Asked) -> None:
    pipeline(asked)
    chunks = asked.sql("SELECT command FROM runs ORDER BY started_at LIMIT 2")

    assert (
        list(chunks[0].columns),
        list(chunks[0].rows_json),
        chunks[-1].truncated,
    ) == (["command"], ['["sh all.sh"]', '["python prepare.py"]'], False)


def test_sql_that_is_cut_says_so(asked: Asked) -> None:
    chunks = asked.sql("SELECT * FROM range(2500)", max_rows=2000)

    assert (sum(len(chunk.rows_json) for chunk in chunks), chunks[-1].truncated) == (2000, True)


def test_views_have_the_columns_of_the_contract(asked: Asked) -> None:
    pipeline(asked)
    columns = {
        view: {name for (name, *_) in asked.machine.rows(f"DESCRIBE {view}")}
        for view in ("runs", "run_inputs", "run_outputs", "run_dependencies")
    }
    files = {
        "run_id",
        "path",
        "artifact",
        "artifact_state",
        "class",
        "first_at",
        "last_at",
        "bytes",
    }

    assert files <= columns["run_inputs"]
    assert files <= columns["run_outputs"]
    assert {"child_run_id", "parent_run_id", "artifact", "strength"} <= columns["run_dependencies"]
    assert {
        "run_id",
        "kind",
        "command",
        "argv",
        "cwd",
        "host",
        "user_name",
        "uid",
        "started_at",
        "ended_at",
        "status",
        "exit_code",
        "git_commit",
        "git_dirty",
        "project",
        "request_id",
        "gpu_seconds",
        "cost_usd",
        "complete",
        "incomplete_reason",
    } <= columns["runs"]
