"""Answers as people see them, at 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit import client_samples as samples
from tests.unit.client_samples import CWD, MODEL, MODEL_DIGEST, NOW_NS

from whence import render_run, render_status
from whence.doctor import Check
from whence.model import Found, Run, RunDetail, RunList, Status, from_wire, order_productions
from whence.page import Cell, Column, Page, columns, wrap
from whence.render import Question, found_lines, run_lines
from whence.sql import table_lines, unique_columns
from whence.text import cells, safe
from whence_proto.v1 import query_pb2 as wire

PAGE = Page(width=80, now_unix_ns=NOW_NS)
ASKED = Question("model.pt", f"{CWD}/model.pt", "gpu-07", MODEL_DIGEST, len(MODEL))
OTHER = replace(ASKED, digest="blake3:" + "f" * 64)


def answer(reply: wire.FindReply, question: Question = ASKED, page: Page = PAGE) -> str:
    found = from_wire(Found, reply)
    ordered = order_productions(found, question.path, question.host)
    lines = found_lines(page, question, safe(replace(found, productions=ordered)))
    return "\n".join(lines) + "\n"


def test_how_a_model_was_made() -> None:
    assert (
        answer(samples.found())
        == f"""\
model.pt  {MODEL_DIGEST[:19]}  24 B
made by   python train.py --epochs 3
          run 4f0c9a1e · succeeded · 12 s · 3 minutes ago
          alice on gpu-07 in /home/alice/proj
          code a1b2c3d (main, modified: train.py)
from      data  prepared.npz     blake3:11111111  ← prepare.py a1b2c3d4
          data  /data/rules.csv  blake3:cccccccc  512 B, root data
          code  train.py         blake3:22222222  2.3 kB
          and 214 library files
root data /data/raw.csv  blake3:33333333  1.2 MB
lineage   prepare.py → train.py
complete  yes: nothing is known to be missing
also made by cp  run 77d1e1a0  as /home/alice/proj/best.pt on gpu-07
read by   cp  run 77d1e1a0  30 seconds ago
"""
    )


def test_a_copy_tells_of_the_copying_run() -> None:
    copy = replace(ASKED, name="best.pt", path=f"{CWD}/best.pt")

    assert (
        answer(samples.found(), copy)
        == f"""\
best.pt  {MODEL_DIGEST[:19]}  24 B
made by   cp model.pt best.pt
          run 77d1e1a0 · succeeded · 3 ms · 29 seconds ago
          alice on gpu-07 in /home/alice/proj
from      model  model.pt  {MODEL_DIGEST[:15]}  24 B
lineage   train.py → cp
complete  yes: nothing is known to be missing
also made by train.py  run 4f0c9a1e  as /home/alice/proj/model.pt on gpu-07
read by   cp  run 77d1e1a0  30 seconds ago
"""
    )


def test_what_is_missing_is_said_with_the_reason() -> None:
    reply = samples.found()
    del reply.productions[0]
    del reply.consumers[:]
    made = reply.productions[0]
    made.complete = False
    made.incomplete_reasons.append("12 touches were lost on gpu-07 while python prepare.py ran")
    made.inputs[1].ClearField("digest")
    made.inputs[1].state = "torn"
    made.inputs[1].reason = "it was overwritten before all of it could be read"
    made.process.argv[:] = ["/bin/sh", "-c", "cat part* > model.pt"]

    assert (
        answer(reply)
        == f"""\
model.pt  {MODEL_DIGEST[:19]}  24 B
made by   python train.py --epochs 3
          run 4f0c9a1e · succeeded · 12 s · 3 minutes ago
          alice on gpu-07 in /home/alice/proj
          code a1b2c3d (main, modified: train.py)
written   /bin/sh -c cat part* > model.pt  (pid 4711)
from      data  prepared.npz     blake3:11111111  ← prepare.py a1b2c3d4
          data  /data/rules.csv  blake3:cccccccc  512 B, root data
          code  train.py         torn             it was overwritten before all…
          and 214 library files
root data /data/raw.csv  blake3:33333333  1.2 MB
lineage   prepare.py → train.py
complete  no: 12 touches were lost on gpu-07 while python prepare.py ran
"""
    )


def test_content_that_was_there_before_has_no_maker() -> None:
    reply = wire.FindReply(artifact=samples.found().artifact, consumers=[samples.copy()] * 5)

    assert (
        answer(reply)
        == f"""\
model.pt  {MODEL_DIGEST[:19]}  24 B
made by   no run that was observed: it was there before
read by   cp  run 77d1e1a0  30 seconds ago
          cp  run 77d1e1a0  30 seconds ago
          cp  run 77d1e1a0  30 seconds ago
          and 2 more runs
"""
    )


def test_unknown_content_tells_what_is_known_of_the_path() -> None:
    reply = samples.overwritten()
    del reply.path_versions[3]

    assert (
        answer(reply, OTHER)
        == """\
model.pt  blake3:ffffffffffff  24 B
unknown   no observed run wrote or read this content
the path  what was seen at /home/alice/proj/model.pt:
          1 minute ago   write  train.py  4f0c9a1e  torn
            because it was overwritten at once
          2 minutes ago  write  train.py  4f0c9a1e  unhashed
          2 hours ago    read   cp        77d1e1a0  blake3:"""
        + MODEL_DIGEST[7:15]
        + "\n"
    )


def test_a_version_that_waits_for_its_digest_is_not_called_unknown_for_good() -> None:
    assert "unknown   so far: a content seen here waits to be hashed" in answer(
        samples.overwritten(), OTHER
    )


def test_a_missing_file_and_a_path_never_seen() -> None:
    gone = replace(ASKED, digest=None, size_bytes=None)

    assert (
        answer(wire.FindReply(), gone)
        == """\
model.pt
missing   there is no such file now
the path  nothing: whence has not seen this path written or read
"""
    )


def test_an_ambiguous_prefix_lists_the_digests() -> None:
    reply = wire.FindReply(candidates=[samples.DATA_DIGEST, samples.RAW_DIGEST])

    assert (
        answer(reply, Question("123456", digest="blake3:123456"))
        == f"""\
123456 is the beginning of 2 digests:
  {samples.DATA_DIGEST}
  {samples.RAW_DIGEST}
ask with more digits
"""
    )


def test_the_log() -> None:
    runs = [
        samples.copy(),
        samples.train(complete=False),
        samples.run("00ff00ff00ff00ff", "./work --on it", 260_000, 7_300, status="failed"),
        samples.run("11ff00ff00ff00ff", "sleep 9", 5, 1, status="killed"),
    ]
    runs[2].exit_code = 127
    listed = from_wire(RunList, wire.ListRunsReply(runs=runs, truncated=True))

    assert render_run.log_lines(PAGE, listed) == [
        "RUN       AGE       TOOK  OUTCOME      WHO           COMMAND",
        "77d1e1a0  30s       3 ms  succeeded    alice@gpu-07  cp model.pt best.pt",
        "4f0c9a1e   3m       12 s  succeeded !  alice@gpu-07  python train.py --epochs 3",
        "00ff00ff   3d  2 h 1 min  failed 127   alice@gpu-07  ./work --on it",
        "11ff00ff   5s      1.0 s  killed       alice@gpu-07  sleep 9",
        "! not all of it is known: `whence show RUN` tells why",
        "there are more: raise --limit",
    ]


def test_an_empty_log_tells_what_to_do() -> None:
    assert render_run.log_lines(PAGE, RunList(runs=(), truncated=False)) == [
        "no run matches: widen the filters (--all adds runs that wrote no file)"
    ]


def test_one_run_in_full() -> None:
    detail = samples.detail()
    detail.run.parent_run_id = "99999999aaaaaaaa"
    detail.steps.append(samples.prepare())

    lines = render_run.run_detail_lines(PAGE, from_wire(RunDetail, detail))

    assert (
        "\n".join(lines) + "\n"
        == f"""\
run       4f0c9a1e3b2d1c00  job
command   python train.py --epochs 3
outcome   succeeded · 12 s · started 2026-11-18 11:03 UTC
who       alice on gpu-07
in        /home/alice/proj
code      a1b2c3d (main, modified: train.py)
          in /home/alice/proj
part of   run 99999999
complete  yes
inputs    data  prepared.npz     blake3:11111111  ← prepare.py a1b2c3d4
          data  /data/rules.csv  blake3:cccccccc  512 B
          code  train.py         blake3:22222222  2.3 kB
          214 files of libraries and caches: `whence inputs --all` lists them
outputs   model  model.pt  {MODEL_DIGEST[:15]}  24 B
steps     a1b2c3d4  succeeded  python prepare.py
processes 4711  exit 0  python train.py --epochs 3
"""
    )


def test_the_status() -> None:
    lines = render_status.status_lines(PAGE, from_wire(Status, samples.status()), "here:7420")

    assert lines == [
        "collector version 0.1.0 at here:7420, schema 1",
        "storage   100.0 GB free",
        "rows      1,234 access, 7 process",
        "",
        "HOST    STREAM  LAST BATCH     LOST  VERSION  KERNEL  BACK END",
        "gpu-07  open    5 seconds ago     0  0.1.0    6.18.0  tp_btf",
        "gpu-07 lacks io_uring: `whence doctor` there names the remedy",
    ]


def test_the_checklist_puts_a_remedy_under_each_cross() -> None:
    checks = [
        Check("host", "btf", True, "found"),
        Check("host", "capabilities", False, "CAP_BPF is missing", "run as root"),
        Check("collector", "answers", True, "version 0.1.0"),
    ]

    assert render_status.checklist_lines(PAGE, checks) == [
        "host",
        "  ✓ btf           found",
        "  ✗ capabilities  CAP_BPF is missing",
        "                  → run as root",
        "collector",
        "  ✓ answers       version 0.1.0",
        "",
        "1 thing to put right",
    ]


@pytest.mark.parametrize("width", [60, 72, 80, 120])
def test_no_line_is_wider_than_the_page(width: int) -> None:
    reply = samples.found()
    reply.productions[1].inputs[0].path = "/very" * 60 + "/数据.csv"
    reply.productions[1].run.command = "python " + "--option value " * 40
    reply.productions[1].run.cwd = "/home/" + "x" * 200
    reply.productions[1].incomplete_reasons.append("z" * 300)
    reply.productions[1].complete = False

    lines = answer(reply, page=Page(width=width, now_unix_ns=NOW_NS)).splitlines()

    assert [line for line in lines if cells(line) > width] == []


def test_off_a_terminal_nothing_is_cut() -> None:
    reply = samples.found()
    long = "/very" * 60 + "/data.csv"
    reply.productions[1].inputs[0].path = long

    assert long in answer(reply, page=Page(width=None, now_unix_ns=NOW_NS))


def test_hostile_names_cannot_steer_the_terminal() -> None:
    reply = samples.found()
    reply.productions[1].inputs[0].path = f"{CWD}/a\x1b[2J\nmade by   nobody"
    reply.productions[1].run.user = "\x1b]0;owned\x07"

    told = answer(reply)

    assert "\x1b" not in told
    assert "\x07" not in told
    assert "\nmade by   nobody" not in told


def test_colour_changes_no_letter() -> None:
    import re

    plain = answer(samples.found())
    painted = answer(samples.found(), page=replace(PAGE, colour=True))

    assert painted != plain
    assert re.sub(r"\x1b\[\d+m", "", painted).replace(" \n", "\n") == plain


def test_a_running_run_has_no_duration() -> None:
    run = samples.train(status="running")
    run.ClearField("ended_unix_ns")
    run.ClearField("exit_code")

    lines = run_lines(PAGE, from_wire(Run, run))

    assert lines[1] == "run 4f0c9a1e · running · 3 minutes ago"


def test_columns_give_way_where_they_may() -> None:
    kinds = (Column("A"), Column("PATH", shrink=True, tail=True), Column("N", right=True))
    rows = [[Cell("x"), Cell("/a/very/long/path/to/a/file"), Cell("1")]]

    assert columns(Page(20, NOW_NS), kinds, rows) == [
        "A  PATH            N",
        "x  …th/to/a/file  1".replace("…th", "…ath"),
    ]


def test_wrap_cuts_after_the_last_line() -> None:
    assert wrap(Page(20, NOW_NS), "one two three four five six seven eight nine", 2) == [
        "one two three four",
        "five six seven eigh…",
    ]


def test_a_table_of_sql() -> None:
    names = ["run", "bytes", "bad\nname"]
    rows: list[tuple[object, ...]] = [("a\x1b[1m", 10, None), (None, 2.5, ["x", 1])]

    assert table_lines(PAGE, names, rows) == [
        r"run       bytes  bad\nname",
        r"a\x1b[1m     10",
        '            2.5  ["x", 1]',
    ]


def test_an_object_has_each_key_once() -> None:
    assert unique_columns(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_2", "a_3"]
