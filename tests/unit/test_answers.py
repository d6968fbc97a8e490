"""Find: how a content was made, asked of a real database that was fed by a Deriver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.asked import Asked, pipeline
from tests.unit.traced import Machine, digest_of

from whence_collector.derive import Deriver
from whence_collector.errors import InvalidRequest, NotFound
from whence_collector.incomplete import undigested_sentence
from whence_collector.resolved import LossRow
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


def edges(files: Any) -> list[tuple[str, str, str]]:
    return [(file.path, getattr(file, "class"), file.producer_command) for file in files]


def test_find_tells_how_a_content_was_made(asked: Asked) -> None:
    rows = pipeline(asked)
    reply = asked.find("model")
    made = reply.productions[0]

    assert len(reply.productions) == 1
    assert (made.run.command, made.path) == ("python train.py", "/d/model.pt")
    assert rows["train"].tgid == made.process.pid
    assert edges(made.inputs) == [
        ("/d/train.py", "code", ""),
        ("/d/prepared.npz", "data", "python prepare.py"),
    ]
    assert made.library_count == 1
    assert edges(made.root_inputs) == [("/d/raw.csv", "data", "")]
    assert [run.command for run in made.ancestry] == ["python prepare.py"]
    assert [run.command for run in reply.consumers] == ["python evaluate.py"]
    assert (made.complete, list(made.incomplete_reasons)) == (True, [])
    assert (made.run.input_count, made.run.output_count) == (4, 1)


def test_the_shell_that_opened_a_file_did_not_make_what_its_program_wrote(asked: Asked) -> None:
    """`cat raw > made`: the shell creates the file, the program fills it."""
    host = asked.host
    shell = host.spawn(None, "sh", "copy.sh")
    program = host.spawn(shell, "cat", "/d/raw")
    host.touch(shell, 2, 2, "/d/made", count_bytes=0)
    host.read(program, 1, "/d/raw")
    host.write(program, 2, "/d/made")
    host.end(program, shell)
    host.digest(1, "content", path="/d/raw")
    host.digest(2, "content", path="/d/made")
    asked.machine.deliver()
    reply = asked.find("content")

    assert [made.run.command for made in reply.productions] == ["cat /d/raw"]
    assert [edge.path for edge in reply.productions[0].inputs] == ["/d/raw"]


def test_who_emptied_a_file_made_it_where_nobody_wrote(asked: Asked) -> None:
    shell = asked.host.spawn(None, "sh", "clear.sh")
    asked.host.touch(shell, 5, 2, "/d/empty", count_bytes=0)
    asked.host.end(shell)
    asked.host.digest(2, "", size_bytes=0, path="/d/empty")
    asked.machine.deliver()

    assert [made.run.command for made in asked.find("").productions] == ["sh clear.sh"]


def test_find_by_prefix_and_without_the_algorithm(asked: Asked) -> None:
    pipeline(asked)
    digits = digest_of("model").removeprefix("blake3:")
    reply = asked.ask("Find", wire.FindRequest(digest=digits[:8]))

    assert digest_of("model") == reply.artifact.digest
    assert reply.artifact.size_bytes == 1000
    assert (reply.artifact.last_path, reply.artifact.host) == ("/d/model", "node")


def test_find_by_an_ambiguous_prefix_tells_the_candidates(asked: Asked) -> None:
    asked.host.digest(1, "samestart-1")
    asked.host.digest(2, "samestart-2")
    asked.machine.deliver()
    reply = asked.ask("Find", wire.FindRequest(digest=b"samest".hex()))

    assert [digest_of("samestart-1"), digest_of("samestart-2")] == list(reply.candidates)
    assert not reply.HasField("artifact")


def test_find_of_what_nobody_saw(asked: Asked) -> None:
    pipeline(asked)
    with pytest.raises(NotFound, match="no content with digest blake3:6e6f"):
        asked.find("nobody")


@pytest.mark.parametrize("digest", ["xyz", "blake3:12", "blake3:" + "g" * 64, "1" * 65])
def test_find_of_what_is_no_digest(asked: Asked, digest: str) -> None:
    with pytest.raises(InvalidRequest, match="is no digest"):
        asked.ask("Find", wire.FindRequest(digest=digest))


def test_find_needs_something(asked: Asked) -> None:
    with pytest.raises(InvalidRequest, match="digest or a path"):
        asked.ask("Find", wire.FindRequest())


def test_unknown_content_at_a_known_path_tells_what_the_path_held(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.find("nobody", path="/d/model.pt")

    assert not reply.HasField("artifact")
    assert [
        ("read", digest_of("model"), "verified"),
        ("rename", digest_of("model"), "verified"),
    ] == [(version.op, version.digest, version.state) for version in reply.path_versions]


def test_path_on_another_host_is_unknown(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.ask("Find", wire.FindRequest(path="/d/model.pt", host="elsewhere"))

    assert list(reply.path_versions) == []


def test_copy_is_a_production_of_its_own_that_leads_to_the_original(asked: Asked) -> None:
    pipeline(asked)
    host = asked.host
    copy = host.spawn(None, "cp", "model.pt", "copy.pt")
    host.read(copy, 4, "/d/model.pt")
    host.write(copy, 7, "/d/copy.pt")
    host.end(copy)
    host.digest(7, "model")
    asked.machine.deliver()
    reply = asked.find("model", path="/d/copy.pt")
    original_first = asked.find("model")

    assert original_first.productions[0].run.command == "python train.py"
    assert [(made.run.command, made.path) for made in reply.productions] == [
        ("cp model.pt copy.pt", "/d/copy.pt"),
        ("python train.py", "/d/model.pt"),
    ]
    assert [run.command for run in reply.productions[0].ancestry] == [
        "python train.py",
        "python prepare.py",
    ]


def test_a_hard_link_is_answered_by_the_maker_of_the_file_that_it_names(asked: Asked) -> None:
    pipeline(asked)
    host = asked.host
    for version, path in ((7, "/d/copy.pt"), (8, "/d/later.pt")):
        copy = host.spawn(None, "cp", "model.pt", path)
        host.read(copy, 4, "/d/model.pt")
        host.write(copy, version, path)
        host.end(copy)
        host.digest(version, "model")
    link = host.spawn(None, "ln", "copy.pt", "linked.pt")
    host._name(link, 2, "/d/copy.pt", "/d/linked.pt", 7)
    host.end(link)
    asked.machine.deliver()
    reply = asked.find("model", path="/d/linked.pt", host="node")

    assert reply.productions[0].run.command == "cp model.pt /d/copy.pt"


def test_content_that_was_only_read_has_consumers_and_no_production(asked: Asked) -> None:
    pipeline(asked)
    reply = asked.find("raw")

    assert digest_of("raw") == reply.artifact.digest
    assert list(reply.productions) == []
    assert [run.command for run in reply.consumers] == ["python prepare.py"]


def test_three_epochs_to_one_path_are_three_artifacts_with_their_own_inputs(asked: Asked) -> None:
    host = asked.host
    train = host.spawn(None, "python", "train.py")
    for epoch in (1, 2, 3):
        host.read(train, epoch, f"/d/shard{epoch}.bin")
        host.write(train, 10 + epoch, "/d/model.pt")
        host.digest(10 + epoch, f"epoch{epoch}")
    asked.machine.deliver()
    found = [asked.find(f"epoch{epoch}").productions[0] for epoch in (1, 2, 3)]

    assert [len(made.inputs) for made in found] == [1, 2, 3]
    assert [file.path for file in found[0].inputs] == ["/d/shard1.bin"]


def test_input_overwritten_after_the_read_is_the_version_at_first_read(asked: Asked) -> None:
    host = asked.host
    train = host.spawn(None, "python", "train.py")
    host.read(train, 1, "/d/in.csv")
    host.write(train, 2, "/d/in.csv")
    host.write(train, 3, "/d/out")
    for version, content in ((1, "before"), (2, "after"), (3, "output")):
        host.digest(version, content)
    asked.machine.deliver()
    made = asked.find("output").productions[0]

    assert [("/d/in.csv", digest_of("before"))] == [
        (file.path, file.digest) for file in made.inputs
    ]


def test_mapped_output_counts_everything_read_by_its_process(asked: Asked) -> None:
    host = asked.host
    train = host.spawn(None, "python", "train.py")
    host.touch(train, 4, 1, "/d/map.npy", flags=2)
    host.read(train, 2, "/d/late.csv")
    host.digest(1, "mapped")
    asked.machine.deliver()
    made = asked.find("mapped").productions[0]

    assert [file.path for file in made.inputs] == ["/d/late.csv"]


def test_name_follows_renames_after_the_run(asked: Asked) -> None:
    pipeline(asked)
    move = asked.host.spawn(None, "mv", "/d", "/archive")
    asked.host.rename(move, "/d", "/archive")
    asked.machine.deliver()

    assert asked.find("model").productions[0].path == "/archive/model.pt"


def test_loss_anywhere_up_the_lineage_is_told(asked: Asked) -> None:
    rows = pipeline(asked)
    start = rows["prepare"].at_unix_ns
    asked.host.losses.append(LossRow(1, "touch", 9, 6, 3, "ring full", start, start + 1))
    asked.machine.deliver()
    made = asked.find("model").productions[0]

    assert not made.complete
    assert len(made.incomplete_reasons) == 1
    assert made.incomplete_reasons[0].endswith("(python prepare.py): 3 records lost: ring full")


def test_inputs_without_a_digest_up_the_lineage_are_told_in_one_sentence(asked: Asked) -> None:
    pipeline(asked)
    host = asked.host
    late = host.spawn(None, "python", "late.py")
    host.read(late, 20, "/d/raw2.csv")
    host.read(late, 21, "/d/raw3.csv")
    host.read(late, 22, "/usr/lib/libm.so.6")
    host.read(late, 6, "/d/metrics.json")
    host.write(late, 23, "/d/report")
    host.undigested(20, 3, "overwritten before its bytes could be read")
    host.undigested(21, 4, "larger than the limit")
    host.undigested(22, 4, "larger than the limit")
    host.digest(23, "report")
    asked.machine.deliver()
    made = asked.find("report").productions[0]
    graph = asked.ask("Lineage", wire.LineageRequest(start=digest_of("report")))
    sentence = (
        "2 inputs have no digest: /d/raw2.csv (overwritten before its bytes could be read), "
        "/d/raw3.csv (larger than the limit)"
    )

    assert (made.complete, list(made.incomplete_reasons)) == (False, [sentence])
    assert (graph.complete, list(graph.incomplete_reasons)) == (False, [sentence])


def test_input_without_a_digest_of_an_ancestor_makes_the_answer_incomplete(asked: Asked) -> None:
    host = asked.host
    prepare, train = host.spawn(None, "python", "prepare.py"), host.spawn(None, "python", "t.py")
    host.read(prepare, 1, "/d/raw.csv")
    host.write(prepare, 2, "/d/prepared.npz")
    host.read(train, 2, "/d/prepared.npz")
    host.write(train, 3, "/d/model.pt")
    host.undigested(1, 3, "gone")
    host.digest(2, "prepared")
    host.digest(3, "model")
    asked.machine.deliver()
    made = asked.find("model").productions[0]

    assert not made.complete
    assert list(made.incomplete_reasons) == ["1 input has no digest: /d/raw.csv (gone)"]


def test_many_inputs_without_a_digest_are_counted() -> None:
    undigested = [(f"/d/{nth}", None) for nth in range(5)]

    assert undigested_sentence(undigested) == (
        "5 inputs have no digest: /d/0, /d/1, /d/2, and 2 more"
    )


def test_production_that_wrote_the_asked_path_comes_first_and_alone_in_full(asked: Asked) -> None:
    host = asked.host
    made = []
    for nth in range(3):
        train = host.spawn(None, "python", f"train{nth}.py")
        host.read(train, 10 + nth, f"/d/in{nth}.csv")
        host.write(train, 20 + nth, f"/d/model{nth}.pt")
        host.end(train)
        host.digest(20 + nth, "model")
        made.append(train)
    asked.machine.deliver()
    reply = asked.find("model", path="/d/model0.pt", host="node")

    assert [
        (production.path, [file.path for file in production.inputs], production.truncated)
        for production in reply.productions
    ] == [
        ("/d/model0.pt", ["/d/in0.csv"], False),
        ("/d/model2.pt", [], True),
        ("/d/model1.pt", [], True),
    ]
    assert [production.process.pid for production in reply.productions] == [
        made[0].tgid,
        made[2].tgid,
        made[1].tgid,
    ]
