"""Touched, roots, who, comparison, recipe and repeats, asked of a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ancestry_asked import Ancestry
from tests.unit.asked import pipeline
from tests.unit.traced import SECOND_NS, Machine, digest_of

from whence_collector.ancestry import RunningRepeats
from whence_collector.answers_repeats import overlap_with_test_sets, ran_before
from whence_collector.answers_tags import add_tags
from whence_collector.derive import Deriver
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.graph import Graph
from whence_collector.repeats import is_prefix
from whence_collector.store import Store
from whence_proto.v1 import ancestry_pb2 as wire
from whence_proto.v1 import query_pb2, tags_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Ancestry]:
    store = Store(tmp_path / "whence.duckdb")
    yield Ancestry(Machine(store, Deriver))
    store.close()


def label(asked: Ancestry, subject: str, key: str, value: str | None = None) -> None:
    request = tags_pb2.TagRequest(
        subject=subject, changes=[tags_pb2.TagChange(key=key, value=value)], who="ada@node"
    )
    asked.machine.store.write(add_tags(request, Graph())).result()


def touched(asked: Ancestry, subject: str, **what: Any) -> wire.TouchedReply:
    reply: wire.TouchedReply = asked.about(
        "Touched", wire.TouchedRequest(subject=digest_of(subject), **what)
    )
    return reply


def test_yes_comes_with_the_way(asked: Ancestry) -> None:
    pipeline(asked)

    reply = touched(asked, "model", digests=[digest_of("raw")])

    (touch,) = reply.touches
    assert (reply.verdict, touch.path, touch.strength) == ("yes", "/d/raw.csv", "same-version")
    assert list(touch.route) == ["python prepare.py", "python train.py"]
    assert touch.digest == digest_of("raw")


def test_no_comes_with_the_coverage(asked: Ancestry) -> None:
    """What was read after the model was written is in another model, not in this one."""
    pipeline(asked)

    reply = touched(asked, "model", digests=[digest_of("late"), digest_of("metrics")])

    assert (reply.verdict, list(reply.reasons)) == ("no", [])
    assert (reply.contents, reply.runs, reply.inputs, reply.inputs_known) == (2, 2, 3, 3)


def test_a_content_that_nobody_ever_saw_was_not_read(asked: Ancestry) -> None:
    pipeline(asked)

    assert touched(asked, "model", digests=["blake3:" + "ab" * 32]).verdict == "no"


def test_lost_records_make_a_no_unknown_and_a_yes_stay(asked: Ancestry) -> None:
    pipeline(asked)
    asked.machine.store.write(
        lambda writer: writer.execute(
            "UPDATE run SET complete = false, incomplete_reason = '7 records lost' "
            "WHERE command = 'python prepare.py'"
        )
    ).result()

    unsure = touched(asked, "model", digests=[digest_of("late")])

    assert unsure.verdict == "unknown"
    assert "7 records lost" in unsure.reasons[0]
    assert touched(asked, "model", digests=[digest_of("raw")]).verdict == "yes"


def test_bytes_that_nobody_could_hash_make_a_no_unknown(asked: Ancestry) -> None:
    host = asked.host
    run = host.spawn(None, "python", "torn.py")
    host.read(run, 60, "/d/torn.csv")
    host.undigested(60, 3, "it changed while it was read")
    host.write(run, 61, "/d/torn.pt")
    host.digest(61, "torn model")
    host.end(run)
    asked.machine.deliver()

    reply = touched(asked, "torn model", digests=[digest_of("raw")])

    assert reply.verdict == "unknown"
    assert "/d/torn.csv" in reply.reasons[0]


def test_data_that_no_run_made_is_unknown(asked: Ancestry) -> None:
    pipeline(asked)

    assert touched(asked, "raw", digests=[digest_of("late")]).verdict == "unknown"


def test_a_label_stands_for_what_has_it(asked: Ancestry) -> None:
    pipeline(asked)
    label(asked, digest_of("raw"), "test-set", "v2")

    assert touched(asked, "model", label="test-set").verdict == "yes"
    assert touched(asked, "model", label="test-set=v2").verdict == "yes"
    with pytest.raises(NotFound):
        touched(asked, "model", label="test-set=v1")


@pytest.mark.parametrize(
    "what", [{}, {"digests": ["blake3:12"]}, {"tree": "tree:q"}, {"label": "no key"}]
)
def test_nothing_to_look_for_is_refused(asked: Ancestry, what: dict[str, Any]) -> None:
    pipeline(asked)
    with pytest.raises(InvalidRequest):
        touched(asked, "model", **what)


def test_a_tree_is_touched_when_a_member_is(asked: Ancestry) -> None:
    host = asked.host
    maker = host.spawn(None, "python", "make.py")
    for number in range(3):
        host.write(maker, 70 + number, f"/d/test/{number}.jsonl")
        host.digest(70 + number, f"test {number}")
    host.end(maker)
    train = host.spawn(None, "python", "train.py")
    host.read(train, 71, "/d/test/1.jsonl")
    host.write(train, 80, "/d/m.pt")
    host.digest(80, "m")
    host.end(train)
    asked.settle()
    ((tree,),) = asked.machine.rows("SELECT tree FROM trees")
    label(asked, tree, "test-set")

    reply = touched(asked, "m", label="test-set")

    assert (reply.verdict, reply.contents) == ("yes", 3)
    assert [touch.path for touch in reply.touches] == ["/d/test/1.jsonl"]
    with asked.machine.store.cursor() as reader:
        overlaps = overlap_with_test_sets(reader, [digest_of("test 1"), digest_of("m")])
        none = overlap_with_test_sets(reader, [digest_of("m")])
    assert [(each.subject, each.contents) for each in overlaps] == [(tree, 1)]
    assert none == []


def test_root_data_is_told_with_source_and_labels(asked: Ancestry) -> None:
    pipeline(asked)
    label(asked, digest_of("raw"), "license", "cc-by")
    asked.machine.store.write(
        lambda writer: writer.execute(
            "INSERT INTO file_origin VALUES (1, 'huggingface', 'dataset', 'org/raw', 'abc', "
            "'main', 'raw.csv', 1)"
        )
    ).result()

    reply = asked.about("RootInputs", wire.RootInputsRequest(subject=digest_of("model")))

    assert [(item.file.path, item.source, list(item.labels)) for item in reply.inputs] == [
        ("/d/raw.csv", "huggingface:org/raw@abc/raw.csv", ["license=cc-by"])
    ]
    assert reply.complete


def test_who_is_behind_a_model(asked: Ancestry) -> None:
    host = asked.host
    agent = host.spawn(None, "claude")
    prepare = host.spawn(agent, "python", "prepare.py")
    host.read(prepare, 1, "/d/raw.csv")
    host.write(prepare, 2, "/d/prepared.npz")
    host.end(prepare)
    train = host.spawn(None, "python", "train.py", uid=1001, login_uid=1001, user_name="eve")
    host.read(train, 2, "/d/prepared.npz")
    host.write(train, 3, "/d/model.pt")
    host.end(train)
    for version, content in ((1, "raw"), (2, "prepared"), (3, "model")):
        host.digest(version, content)
    asked.machine.deliver()

    reply = asked.about("Who", wire.WhoRequest(subject=digest_of("model")))

    people = {person.name: person for person in reply.people}
    assert people["eve"].kind == "human"
    assert list(people["eve"].commands) == ["python train.py"]
    (other,) = set(people) - {"eve"}
    assert (people[other].kind, people[other].acting_for) == ("agent", "ada")


def training(
    asked: Ancestry, *argv: str, data: str = "raw", code: str = "code", result: str = "model"
) -> str:
    """Train once more and return the run."""
    host = asked.host
    base = host.now_ns % 1_000_000_000_000 // 1_000_000
    run = host.spawn(None, "python", "train.py", *argv)
    for offset, path, content in ((0, "/d/train.py", code), (1, "/d/raw.csv", data)):
        host.read(run, base + offset, path)
        host.digest(base + offset, content)
    host.write(run, base + 2, "/d/model.pt")
    host.digest(base + 2, result)
    host.end(run)
    asked.settle()
    rows = asked.machine.rows("SELECT run_id FROM run ORDER BY started_ns DESC LIMIT 1")
    return str(rows[0][0])


def test_differences_are_ranked_by_what_likely_matters(asked: Ancestry) -> None:
    a = training(asked, "--lr", "0.1", "--epochs=3")
    b = training(asked, "--lr", "0.2", "--epochs=3", data="raw2", code="code2", result="model2")

    reply = asked.about("Compare", wire.CompareRequest(a=a, b=b))

    found = [(each.category, each.what) for each in reply.differences]
    assert found[:3] == [("data", "/d/raw.csv"), ("arguments", "--lr"), ("code", "/d/train.py")]
    assert [(each.a, each.b) for each in reply.differences][1] == ("0.1", "0.2")
    assert ("outcome", "made /d/model.pt") in found
    assert set(reply.same) >= {"environment", "host", "cost"}


def test_what_differs_further_up_is_found_and_weighs_less(asked: Ancestry) -> None:
    host = asked.host
    for number, rate in ((0, "0.5"), (100, "0.9")):
        prepare = host.spawn(None, "python", "prepare.py", "--rate", rate)
        host.read(prepare, 1, "/d/raw.csv")
        host.write(prepare, number + 2, "/d/prepared.npz")
        host.end(prepare)
        train = host.spawn(None, "python", "train.py")
        host.read(train, number + 2, "/d/prepared.npz")
        host.write(train, number + 3, "/d/model.pt")
        host.end(train)
        host.digest(number + 2, f"prepared {rate}")
        host.digest(number + 3, f"model {rate}")
    host.digest(1, "raw")
    asked.machine.deliver()

    reply = asked.about(
        "Compare", wire.CompareRequest(a=digest_of("model 0.5"), b=digest_of("model 0.9"))
    )

    found = {(each.category, each.what): each for each in reply.differences}
    assert found["arguments", "--rate"].hops == 1
    assert found["arguments", "--rate"].weight < found["data", "/d/prepared.npz"].weight


def test_data_alone_cannot_be_compared(asked: Ancestry) -> None:
    pipeline(asked)
    with pytest.raises(NotFound):
        asked.about("Compare", wire.CompareRequest(a=digest_of("raw"), b=digest_of("model")))


def test_a_recipe_lists_runs_in_their_order_and_what_they_need(asked: Ancestry) -> None:
    pipeline(asked)
    asked.settle()

    reply = asked.about("Recipe", wire.RecipeRequest(subject=digest_of("model")))

    assert [step.run.command for step in reply.steps] == ["sh all.sh"]
    assert [(item.file.path, item.host) for item in reply.inputs] == [
        ("/d/raw.csv", "node"),
        ("/d/train.py", "node"),
        ("/d/afterwards.csv", "node"),  # the model does not hold it, but doing it again reads it
    ]
    assert all(len(step.exact) == 64 for step in reply.steps)


@pytest.mark.parametrize(
    ("change", "grade"),
    [
        ({}, "exact"),
        ({"data": "raw2"}, None),
        ({"code": "code2"}, "same intent"),
    ],
)
def test_a_run_that_was_done_before_is_graded(
    asked: Ancestry, change: dict[str, str], grade: str | None
) -> None:
    first = training(asked, "--lr", "0.1")
    second = training(asked, "--lr", "0.1", **change)

    reply = asked.about("Duplicates", wire.DuplicatesRequest())

    expected = [] if grade is None else [(second, first, grade)]
    assert [(d.run.run_id, d.earlier.run_id, d.grade) for d in reply.duplicates] == expected


def test_where_a_result_goes_does_not_make_it_another(asked: Ancestry) -> None:
    training(asked, "--lr", "0.1", "--out", "/d/a")
    training(asked, "--lr", "0.1", "--out", "/d/b")
    training(asked, "--lr", "0.3", "--out", "/d/b")

    reply = asked.about("Duplicates", wire.DuplicatesRequest())

    assert [d.grade for d in reply.duplicates] == ["same result"]


def test_a_repeat_is_noticed_while_it_runs(asked: Ancestry) -> None:
    first = training(asked, "--lr", "0.1")
    host = asked.host
    run = host.spawn(None, "python", "train.py", "--lr", "0.1")
    host.read(run, 8_000, "/d/train.py")
    host.digest(8_000, "code")
    host.now_ns += 20 * SECOND_NS
    asked.settle()
    early = asked.about("Duplicates", wire.DuplicatesRequest(running=True))
    host.read(run, 8_001, "/d/raw.csv")
    host.digest(8_001, "raw")
    asked.settle()

    (found,) = asked.about("Duplicates", wire.DuplicatesRequest(running=True)).duplicates
    listed = asked.ask("ListRuns", query_pb2.ListRunsRequest(all=True)).runs
    (gauge,) = RunningRepeats(lambda: asked.machine.store).collect()

    assert list(early.duplicates) == []
    assert (found.earlier.run_id, found.grade, found.inputs_matched) == (first, "exact", 2)
    assert list(found.made) == ["/d/model.pt", digest_of("model")]
    assert listed[0].repeats_run_id == first
    assert [sample.value for sample in gauge.samples] == [1]


def test_other_data_is_no_repeat(asked: Ancestry) -> None:
    training(asked, "--lr", "0.1")
    host = asked.host
    run = host.spawn(None, "python", "train.py", "--lr", "0.1")
    for version, path, content in ((8_000, "/d/train.py", "code"), (8_001, "/d/raw.csv", "new")):
        host.read(run, version, path)
        host.digest(version, content)
    host.now_ns += 90 * SECOND_NS
    asked.settle()

    assert list(asked.about("Duplicates", wire.DuplicatesRequest()).duplicates) == []


def test_what_turned_out_different_is_no_repeat_any_more(asked: Ancestry) -> None:
    training(asked, "--lr", "0.1")
    host = asked.host
    run = host.spawn(None, "python", "train.py", "--lr", "0.1")
    for version, path, content in ((8_000, "/d/train.py", "code"), (8_001, "/d/raw.csv", "raw")):
        host.read(run, version, path)
        host.digest(version, content)
    host.now_ns += 20 * SECOND_NS
    asked.settle()
    running = len(asked.about("Duplicates", wire.DuplicatesRequest()).duplicates)
    host.read(run, 8_002, "/d/more.csv")
    host.digest(8_002, "more")
    host.write(run, 8_003, "/d/other.pt")
    host.digest(8_003, "other")
    host.end(run)
    asked.settle()

    assert (running, len(asked.about("Duplicates", wire.DuplicatesRequest()).duplicates)) == (1, 0)


def test_filing_asks_what_ran_on_the_same_data(asked: Ancestry) -> None:
    first = training(asked, "--lr", "0.1")
    with asked.machine.store.cursor() as reader:
        (found,) = ran_before(reader, [digest_of("raw")])
        none = ran_before(reader, [digest_of("raw"), "blake3:" + "0" * 64])

    assert (found.run_id, found.made) == (first, (("/d/model.pt", digest_of("model")),))
    assert none == []


@pytest.mark.parametrize(
    ("contents", "earlier", "expected"),
    [
        ([1], [1, 2, 3], True),
        ([2, 1], [1, 2, 3], True),
        ([9], [1, 2, 3], False),
        ([1, 9], [1, 2, 3], False),
        ([], [1, 2], False),
        ([1], [], False),
        ([60], list(range(64)), False),
        (list(range(64, 0, -1)), list(range(1, 65)), True),
    ],
)
def test_prefixes(contents: list[int], earlier: list[int], expected: bool) -> None:
    assert is_prefix(contents, earlier) is expected
