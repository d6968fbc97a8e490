"""The closure in memory against the same question asked in SQL, and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whence_collector import edge_arrays, lineage
from whence_collector.lineage import ALWAYS, Edge, Lineage
from whence_collector.native_walk import native_walk
from whence_collector.reached import Reached
from whence_collector.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = [f"run{number}" for number in range(8)]
EDGES = st.lists(
    st.builds(
        Edge,
        child=st.sampled_from(RUNS),
        parent=st.sampled_from(RUNS),
        read_ns=st.integers(0, 30),
        written_ns=st.none() | st.integers(0, 30),
    ),
    max_size=25,
)
UP = """
WITH RECURSIVE up(run_id, bound) AS (
    SELECT 'run0', ?::BIGINT
    UNION
    SELECT d.parent_run_id, least(up.bound, coalesce(d.written_ns, up.bound))
    FROM up JOIN run_dependency d ON d.child_run_id = up.run_id AND d.read_ns <= up.bound
)
SELECT run_id, max(bound) FROM up GROUP BY run_id
"""
DOWN = """
WITH RECURSIVE down(run_id, since) AS (
    SELECT 'run0', ?::BIGINT
    UNION
    SELECT d.child_run_id, greatest(down.since, d.read_ns)
    FROM down JOIN run_dependency d ON d.parent_run_id = down.run_id
        AND (d.written_ns IS NULL OR d.written_ns >= down.since)
)
SELECT run_id, min(since) FROM down GROUP BY run_id
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("lineage") / "whence.duckdb")
    try:
        yield opened
    finally:
        opened.close()


def in_sql(store: Store, edges: list[Edge], question: str, bound: int) -> dict[str, int]:
    def ask(writer: object) -> dict[str, int]:
        writer.execute("DELETE FROM run_dependency")  # type: ignore[attr-defined]  # a Writer
        writer.append(  # type: ignore[attr-defined]  # a Writer
            "run_dependency",
            {
                "child_run_id": [edge.child for edge in edges],
                "parent_run_id": [edge.parent for edge in edges],
                "strength": ["same-version" for _ in edges],
                "read_ns": [edge.read_ns for edge in edges],
                "written_ns": [edge.written_ns for edge in edges],
            },
        )
        return dict(writer.rows(question, (bound,)))  # type: ignore[attr-defined]  # a Writer

    return store.write(ask).result()


@pytest.fixture(params=["machine code", "arrays"])
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask the graph by the walk that was built, and by the one that needs no building."""
    assert native_walk() is not None, "make -C collector/native"
    if request.param == "arrays":
        monkeypatch.setattr(lineage, "native_walk", lambda: None)
    return str(request.param)


@pytest.mark.usefixtures("walk")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edges=EDGES, bound=st.integers(0, 30))
def test_closures_agree_with_sql(store: Store, edges: list[Edge], bound: int) -> None:
    graph = Lineage(edges)
    up = {run_id: each.bound_ns for run_id, each in graph.upstream({"run0": bound}).items()}
    down = {run_id: each.bound_ns for run_id, each in graph.downstream({"run0": bound}).items()}

    assert in_sql(store, edges, UP, bound) == up
    assert in_sql(store, edges, DOWN, bound) == down


@pytest.mark.usefixtures("walk")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(EDGES, max_size=4), bound=st.integers(0, 30), few=st.sampled_from([0, 1, 4]))
def test_edges_that_come_later_count_as_those_that_were_there(
    monkeypatch: pytest.MonkeyPatch, pieces: list[list[Edge]], bound: int, few: int
) -> None:
    """Whichever layer they are in: the small one is joined now and then."""
    monkeypatch.setattr(edge_arrays, "SMALL", 5)
    monkeypatch.setattr(lineage, "FEW", few)
    grown = Lineage()
    for piece in pieces:
        for edge in piece:
            grown.add(edge)
        grown.upstream({"run0": bound})
    edges = [edge for piece in pieces for edge in piece]

    assert Lineage(edges).downstream({"run1": bound}) == grown.downstream({"run1": bound})
    assert by_hand(edges, "run0", bound) == grown.upstream({"run0": bound})


def by_hand(edges: list[Edge], start: str, bound: int) -> dict[str, Reached]:
    """Answer upstream the slow way: widen until nothing changes, then count steps."""
    bounds = {start: bound}
    for _ in edges:
        for edge in edges:
            if edge.child in bounds and edge.read_ns <= bounds[edge.child]:
                written = bounds[edge.child] if edge.written_ns is None else edge.written_ns
                widest = min(bounds[edge.child], written)
                bounds[edge.parent] = max(widest, bounds.get(edge.parent, widest))
    hops, files = {start: 0}, {start}
    ways = [
        edge
        for edge in edges
        if edge.child != edge.parent and edge.read_ns <= bounds.get(edge.child, -1)
    ]
    for _ in bounds:
        for edge in ways:
            hops[edge.parent] = min(hops.get(edge.child, 99) + 1, hops.get(edge.parent, 99))
    files |= {edge.parent for edge in ways if edge.written_ns is not None}
    return {run: Reached(each, hops[run], run in files) for run, each in bounds.items()}


def test_input_read_after_the_output_was_written_does_not_count() -> None:
    graph = Lineage([Edge("eval", "train", 50, 20), Edge("train", "late", 30, 25)])

    assert {"eval", "train"} == graph.upstream({"eval": ALWAYS}).keys()


def test_widest_bound_over_all_ways_counts() -> None:
    graph = Lineage(
        [
            Edge("eval", "train", 50, 10),
            Edge("eval", "copy", 50, 40),
            Edge("copy", "train", 35, 30),
            Edge("train", "raw", 20, 5),
        ]
    )

    assert {
        "eval": Reached(ALWAYS, 0, by_file=True),
        "train": Reached(30, 1, by_file=True),
        "copy": Reached(40, 1, by_file=True),
        "raw": Reached(5, 2, by_file=True),
    } == graph.upstream({"eval": ALWAYS})


def test_pipe_passes_the_bound_on_and_is_no_file() -> None:
    graph = Lineage([Edge("sort", "cat", 5, None)])

    assert Reached(30, 1, by_file=False) == graph.upstream({"sort": 30})["cat"]


def test_run_that_depends_on_itself_is_left_out() -> None:
    graph = Lineage([Edge("a", "a", 1, 1)])

    assert {"a": Reached(9, 0, by_file=True)} == graph.upstream({"a": 9})


def test_downstream_follows_only_what_was_written_after_the_read() -> None:
    graph = Lineage([Edge("late", "train", 50, 40), Edge("early", "train", 15, 10)])

    assert {"train", "late"} == graph.downstream({"train": 20}).keys()
