"""Lineage as a tree, as Graphviz and as Mermaid."""

from __future__ import annotations

import re

from tests.unit import client_samples as samples
from tests.unit.client_samples import MODEL_DIGEST, NOW_NS, RAW_DIGEST

from whence.model import Lineage, from_wire
from whence.page import Page
from whence.render_tree import dot_text, mermaid_text, tree_lines
from whence_proto.v1 import query_pb2 as wire

PAGE = Page(width=80, now_unix_ns=NOW_NS)


def tree(reply: wire.LineageReply, downstream: bool = False) -> str:
    return "\n".join(tree_lines(PAGE, from_wire(Lineage, reply), downstream)) + "\n"


def test_a_tree_upwards() -> None:
    assert (
        tree(samples.lineage())
        == f"""\
/home/alice/proj/model.pt  {MODEL_DIGEST[:15]}  24 B
└─ python train.py --epochs 3  4f0c9a1e · succeeded · 3 minutes ago
   ├─ /home/alice/proj/prepared.npz  blake3:11111111  1.2 MB
   │  └─ python prepare.py  a1b2c3d4 · succeeded · 10 minutes ago
   │     └─ /data/raw.csv  blake3:33333333  1.2 MB  root data
   └─ /home/alice/proj/train.py  blake3:22222222  2.3 kB  root code
"""
    )


def test_a_tree_downwards() -> None:
    reply = samples.lineage()
    reply.start = RAW_DIGEST

    assert (
        tree(reply, downstream=True)
        == f"""\
/data/raw.csv  blake3:33333333  1.2 MB  root data
└─ python prepare.py  a1b2c3d4 · succeeded · 10 minutes ago
   └─ /home/alice/proj/prepared.npz  blake3:11111111  1.2 MB
      └─ python train.py --epochs 3  4f0c9a1e · succeeded · 3 minutes ago
         └─ /home/alice/proj/model.pt  {MODEL_DIGEST[:15]}  24 B
"""
    )


def test_a_stream_between_runs_is_a_branch_of_its_own() -> None:
    reply = wire.LineageReply(
        start=samples.TRAIN_ID,
        runs=[samples.train(), samples.prepare()],
        edges=[wire.LineageEdge(run_id=samples.PREPARE_ID, to_run_id=samples.TRAIN_ID)],
        complete=True,
    )

    assert tree(reply).splitlines()[1].startswith("└─ python prepare.py  a1b2c3d4")


def test_what_has_branches_is_spelled_out_once() -> None:
    reply = samples.lineage()
    # The trainer read the raw data too, and raw.csv was made by prepare: a diamond.
    reply.edges.append(wire.LineageEdge(run_id=samples.TRAIN_ID, file_key=RAW_DIGEST))
    reply.edges.append(wire.LineageEdge(run_id=samples.PREPARE_ID, file_key=RAW_DIGEST, write=True))

    told = tree(reply)

    assert told.count("python prepare.py") == 2
    assert told.count("(see above)") == 2


def test_a_chain_of_5000_runs_is_a_tree_too() -> None:
    runs = [samples.run(f"{n:016x}", f"step {n}", 10, 1) for n in range(5000)]
    edges = [wire.LineageEdge(run_id=f"{n + 1:016x}", to_run_id=f"{n:016x}") for n in range(4999)]
    reply = wire.LineageReply(start=f"{0:016x}", runs=runs, edges=edges, complete=True)

    lines = tree(reply).splitlines()

    assert len(lines) == 5000
    assert max(len(line) for line in lines) <= 100


def test_a_cut_or_incomplete_walk_says_so() -> None:
    reply = samples.lineage()
    reply.truncated, reply.complete = True, False
    reply.incomplete_reasons.append("3 touches were lost")

    assert tree(reply).splitlines()[-3:] == [
        "",
        "the walk was cut: raise --limit or ask from a node further on",
        "complete  no: 3 touches were lost",
    ]


def test_dot() -> None:
    reply = samples.lineage()
    reply.files[0].path = '/a "quoted" \\ name'
    del reply.files[1:], reply.runs[1:], reply.edges[1:]

    assert dot_text(from_wire(Lineage, reply)) == "\n".join(
        [
            "digraph whence {",
            "  rankdir=LR;",
            r'  run0 [shape=box, label="python train.py --epochs 3\n4f0c9a1e succeeded"];',
            r'  file0 [shape=note, label="/a \"quoted\" \\ name\n' + MODEL_DIGEST[:15] + '"];',
            "  run0 -> file0;",
            "}",
        ]
    )


def test_mermaid() -> None:
    reply = samples.lineage()
    reply.files[0].path = '/a "quoted" <b> #1'
    del reply.files[1:], reply.runs[1:], reply.edges[1:]

    assert mermaid_text(from_wire(Lineage, reply)).splitlines() == [
        "flowchart LR",
        '  run0["python train.py --epochs 3 · 4f0c9a1e"]',
        f'  file0(["/a #quot;quoted#quot; #lt;b#gt; #35;1 · {MODEL_DIGEST[:15]}"])',
        "  run0 --> file0",
    ]


def test_graphs_have_an_arrow_for_every_edge() -> None:
    graph = from_wire(Lineage, samples.lineage())

    assert len(re.findall("->", dot_text(graph))) == len(graph.edges)
    assert len(re.findall("-->", mermaid_text(graph))) == len(graph.edges)
