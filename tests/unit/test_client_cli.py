"""The command as a program: real process, real gRPC, what it prints and its exit status."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit import client_samples as samples
from tests.unit.client_program import ANSWERS, ask
from tests.unit.client_samples import MODEL, MODEL_DIGEST, PREPARE_ID, TRAIN_ID

from whence.testing import Answers, CannedCollector, serve
from whence_proto.v1 import query_pb2 as wire

HOST = os.uname().nodename


@pytest.fixture(scope="module")
def collector() -> Iterator[CannedCollector]:
    with serve(ANSWERS) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(MODEL)
    return path


def test_a_file_by_its_content(collector: CannedCollector, model: Path) -> None:
    done = ask(collector, model)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "made by   python train.py --epochs 3"
    assert collector.asked[-1] == wire.FindRequest(digest=MODEL_DIGEST, path=str(model), host=HOST)


def test_a_file_as_one_document(collector: CannedCollector, model: Path) -> None:
    done = ask(collector, model, "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 0
    assert document["found"] is True
    assert document["digest"] == MODEL_DIGEST
    assert document["productions"][0]["run"]["run_id"] == TRAIN_ID
    assert document["productions"][0]["inputs"][0]["producer_run_id"] == PREPARE_ID
    assert document["artifact"]["sha256"] is None


def test_a_digest_and_its_prefix(collector: CannedCollector) -> None:
    whole = ask(collector, MODEL_DIGEST)
    ambiguous = ask(collector, "123456")

    assert (whole.returncode, ambiguous.returncode) == (0, 1)
    assert collector.asked[-1] == wire.FindRequest(digest="blake3:123456")
    assert ambiguous.stdout.startswith("123456 is the beginning of 2 digests:\n")


def test_unknown_content_is_1(collector: CannedCollector, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"never seen")

    told = ask(collector, tmp_path / "new")
    document = json.loads(ask(collector, tmp_path / "new", "--json").stdout)

    assert told.returncode == 1
    assert "unknown   no observed run wrote or read this content" in told.stdout
    assert (document["found"], document["size_bytes"]) == (False, 10)


def test_a_missing_file_of_which_something_is_known(tmp_path: Path) -> None:
    gone = tmp_path / "gone.pt"
    answers = Answers(
        found={str(gone): samples.overwritten()},
        lineages={MODEL_DIGEST: samples.lineage()},
        runs=[samples.detail()],
    )

    with serve(answers) as running:
        told = ask(running, gone)
        inputs = ask(running, "inputs", gone)
        lineage = ask(running, "lineage", gone)

    assert (told.returncode, inputs.returncode, lineage.returncode) == (1, 0, 0)
    assert "missing   there is no such file now" in told.stdout
    assert "torn\n            because it was overwritten at once" in told.stdout
    assert told.stderr == (
        f"whence: ask how its last known content was made: `whence {MODEL_DIGEST[:19]}`\n"
    )
    assert lineage.stdout.splitlines()[0].endswith(f"/gone.pt  {MODEL_DIGEST[:15]}  24 B")


def test_a_file_named_like_a_command(collector: CannedCollector, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(MODEL)

    done = ask(collector, "./log", cwd=tmp_path)

    assert done.stdout.startswith("./log  blake3:")


def test_the_log(collector: CannedCollector) -> None:
    done = ask(collector, "log", "--user", "alice", "--status", "failed", "--since", "2026-11-01")
    document = json.loads(ask(collector, "log", "--json", "--limit", "1").stdout)

    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith("4f0c9a1e")
    assert ([run["run_id"] for run in document["runs"]], document["truncated"]) == (
        [TRAIN_ID],
        True,
    )


def test_one_run(collector: CannedCollector) -> None:
    told = ask(collector, "show", "4f0c")
    document = json.loads(ask(collector, "show", TRAIN_ID, "--json").stdout)

    assert told.stdout.startswith("run       4f0c9a1e3b2d1c00  job\n")
    assert document["run"]["git_modified"] == ["train.py"]
    assert document["outputs"][0]["class"] == "model"


def test_show_of_a_digest_is_the_answer_for_it(collector: CannedCollector) -> None:
    done = ask(collector, "show", MODEL_DIGEST)

    assert (done.returncode, done.stdout.splitlines()[1][:10]) == (0, "made by   ")


def test_an_unknown_run_is_1(collector: CannedCollector) -> None:
    done = ask(collector, "show", "00000", "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "found": False,
        "message": "no run 00000 is known: `whence log` lists the runs",
    }


def test_inputs_and_outputs_of_a_run_and_of_a_file(collector: CannedCollector, model: Path) -> None:
    inputs = json.loads(ask(collector, "inputs", "4f0c", "--json", "--all").stdout)
    outputs = json.loads(ask(collector, "outputs", model, "--json").stdout)

    assert list(inputs) == ["run", "inputs", "library_count", "truncated"]
    assert [edge["class"] for edge in inputs["inputs"]] == ["data", "code", "data"]
    assert outputs["run"]["run_id"] == TRAIN_ID
    assert outputs["outputs"][0]["digest"] == MODEL_DIGEST


def test_lineage_in_its_formats(collector: CannedCollector, model: Path) -> None:
    tree = ask(collector, "lineage", model)
    dot = ask(collector, "lineage", "4f0c9a1e", "--format", "dot", "--depth", "2", "--down")
    document = json.loads(ask(collector, "lineage", MODEL_DIGEST, "--format", "json").stdout)

    assert "\n└─ python train.py" in tree.stdout
    assert dot.stdout.startswith("digraph whence {")
    assert wire.LineageRequest(start="4f0c9a1e", downstream=True, depth=2) in collector.asked
    assert len(document["edges"]) == 5


def test_sql(collector: CannedCollector) -> None:
    table = ask(collector, "sql", "SELECT * FROM runs")
    rows = ask(collector, "sql", "-", "--json", input="SELECT * FROM runs")
    none = ask(collector, "sql", "SELECT a FROM nothing", "--json")

    assert table.stdout == "run_id    n    n\na\\x1b[2J  1    2\nb            2.5\n"
    assert json.loads(rows.stdout) == [
        {"run_id": "a\x1b[2J", "n": 1, "n_2": 2},
        {"run_id": "b", "n": None, "n_2": 2.5},
    ]
    assert json.loads(none.stdout) == []


def test_status(collector: CannedCollector) -> None:
    told = ask(collector, "status")
    document = json.loads(ask(collector, "status", "--json").stdout)

    assert told.stdout.startswith("collector version 0.1.0 at 127.0.0.1:")
    assert document["daemons"][0]["host"] == "gpu-07"


def test_a_collector_that_cannot_store_is_1() -> None:
    with serve(Answers(status=samples.status(storage_error="disk full"))) as running:
        done = ask(running, "status")

    assert done.returncode == 1
    assert "storage   commits fail: disk full" in done.stdout


def test_doctor_where_nothing_is_installed(collector: CannedCollector) -> None:
    told = ask(collector, "doctor")
    document = json.loads(ask(collector, "doctor", "--json").stdout)

    assert told.returncode == 1
    assert "✗" in told.stdout
    assert document["ok"] is False
    assert [check for check in document["checks"] if not check["ok"] and not check["remedy"]] == []
    assert {check["part"] for check in document["checks"]} == {"host", "daemon", "collector"}
