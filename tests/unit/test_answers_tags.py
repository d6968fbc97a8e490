"""Tags and metrics asked of a real database: what stands, whose project, what is inherited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.asked import Asked, pipeline
from tests.unit.traced import Machine, digest_of

from whence_collector.answers_tags import add_tags, list_tags
from whence_collector.derive import Deriver
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.graph import Graph
from whence_collector.resolved import MetricRow, ProcessRow, TagRow
from whence_collector.store import Store
from whence_proto.v1 import query_pb2
from whence_proto.v1 import tags_pb2 as wire

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


def say(asked: Asked, subject: str, *words: str, **more: Any) -> wire.TagReply:
    changes = [
        wire.TagChange(key=key, value=value if equals else None, **more)
        for key, equals, value in (word.partition("=") for word in words)
    ]
    request = wire.TagRequest(subject=subject, changes=changes, who="ada@node")
    return asked.machine.store.write(add_tags(request, Graph())).result()


def told(asked: Asked, subject: str | None = None, **more: Any) -> list[tuple[str, str | None]]:
    graph = Graph()
    with asked.machine.store.cursor() as reader:
        graph.follow(reader)
        reply = list_tags(reader, graph, wire.ListTagsRequest(subject=subject, **more))
    return [(tag.key, tag.value if tag.HasField("value") else None) for tag in reply.tags]


def tag_process(asked: Asked, process: ProcessRow, key: str, value: str | None = None) -> None:
    host = asked.host
    row = TagRow(
        "process",
        str(process.process_id),
        process.process_id,
        key,
        value,
        False,
        False,
        "ada",
        True,
        host.tick(),
    )
    host.tags.append(row)


def project_of(asked: Asked, command: str) -> str | None:
    rows = asked.machine.rows("SELECT project FROM runs WHERE command = ?", (command,))
    return rows[0][0]  # type: ignore[no-any-return]


def test_the_newest_statement_stands_and_all_are_kept(asked: Asked) -> None:
    pipeline(asked)
    run = asked.run_id("python train.py")
    say(asked, run[:6], "project=a", "keep")
    say(asked, run, "project=b")
    say(asked, run, "keep", removed=True)

    assert told(asked, run) == [("project", "b")]
    assert told(asked, run, history=True) == [
        ("keep", None),
        ("project", "b"),
        ("keep", None),
        ("project", "a"),
    ]


def test_a_content_is_tagged_by_digest_even_before_it_was_seen(asked: Asked) -> None:
    pipeline(asked)
    unseen = "blake3:" + "ab" * 32
    say(asked, digest_of("model"), "keep")
    say(asked, unseen, "test-set")

    assert told(asked, digest_of("model")) == [("keep", None)]
    assert told(asked, unseen) == [("test-set", None)]
    assert set(told(asked)) == {("keep", None), ("test-set", None)}


@pytest.mark.parametrize("word", ["", "1a=b", "no key", "a/b", "k" * 65, "key=" + "v" * 2001])
def test_what_is_no_tag_is_refused(asked: Asked, word: str) -> None:
    pipeline(asked)
    with pytest.raises(InvalidRequest):
        say(asked, asked.run_id("python train.py"), word)


def test_what_is_not_known_cannot_be_tagged(asked: Asked) -> None:
    pipeline(asked)
    with pytest.raises(NotFound):
        say(asked, "abcdef012345", "keep")


def test_project_of_a_tag_wins_and_goes_down_to_steps(asked: Asked) -> None:
    pipeline(asked)
    say(asked, asked.run_id("sh all.sh"), "project=tickets")
    say(asked, asked.run_id("python train.py"), "project=own")

    assert project_of(asked, "sh all.sh") == "tickets"
    assert project_of(asked, "python prepare.py") == "tickets"
    assert project_of(asked, "python train.py") == "own"


@pytest.mark.parametrize(("project", "count"), [("tickets", 1), ("own", 1), ("other", 0)])
def test_a_script_is_listed_for_the_project_of_its_step(
    asked: Asked, project: str, count: int
) -> None:
    pipeline(asked)
    say(asked, asked.run_id("sh all.sh"), "project=tickets")
    say(asked, asked.run_id("python train.py"), "project=own")

    reply = asked.ask("ListRuns", query_pb2.ListRunsRequest(project=project))

    assert [run.command for run in reply.runs] == ["sh all.sh"] * count


def test_a_process_tags_its_run(asked: Asked) -> None:
    processes = pipeline(asked)
    tag_process(asked, processes["train"], "project", "tickets")
    asked.machine.deliver()
    request = query_pb2.GetRunRequest(run_id=asked.run_id("python train.py"))

    detail = asked.ask("GetRun", request)

    assert [(tag.key, tag.value, tag.who, tag.proven) for tag in detail.tags] == [
        ("project", "tickets", "ada", True)
    ]
    assert detail.run.project == "tickets"


def test_tags_of_a_shell_reach_the_jobs_that_it_starts_later(asked: Asked) -> None:
    host = asked.host
    shell = host.spawn(None, "-bash", terminal=5)
    before = host.spawn(shell, "python", "before.py", process_group=1)
    host.write(before, 1, "/d/a")
    asked.machine.deliver()
    tag_process(asked, shell, "project", "tickets")
    asked.machine.deliver()
    asked.machine.restart()
    after = host.spawn(shell, "python", "after.py", process_group=2)
    host.write(after, 2, "/d/b")
    asked.machine.deliver()

    assert project_of(asked, "python after.py") == "tickets"
    assert project_of(asked, "python before.py") is None


def test_hereditary_tags_go_with_what_is_made_from_the_data(asked: Asked) -> None:
    pipeline(asked)
    say(asked, digest_of("raw"), "pii", "owner=ada")
    say(asked, asked.run_id("python prepare.py"), "license=cc-by", "speed=slow")
    say(asked, digest_of("late"), "test-set")

    assert set(told(asked, digest_of("model"))) == {("pii", None), ("license", "cc-by")}
    assert set(told(asked, asked.run_id("python evaluate.py"))) >= {("pii", None)}


def test_a_tag_is_inherited_where_it_was_asked_for(asked: Asked) -> None:
    pipeline(asked)
    say(asked, digest_of("raw"), "region=eu", inherit=True)
    say(asked, digest_of("raw"), "pii", inherit=False)

    assert told(asked, digest_of("model")) == [("region", "eu")]


def test_what_was_measured_is_shown_with_its_run(asked: Asked) -> None:
    train = pipeline(asked)["train"]
    for step, value in ((1, 0.5), (2, 0.93), (3, 0.7)):
        asked.host.metrics.append(
            MetricRow(train.process_id, "acc", value, step, asked.host.tick())
        )
    asked.machine.deliver()
    request = query_pb2.GetRunRequest(run_id=asked.run_id("python train.py"))

    (metric,) = asked.ask("GetRun", request).metrics

    assert (metric.value, metric.step, metric.count, metric.least, metric.greatest) == (
        0.7,
        3,
        3,
        0.5,
        0.93,
    )
    assert asked.machine.rows("SELECT name, step, value FROM metrics ORDER BY step")[1] == (
        "acc",
        2,
        0.93,
    )
