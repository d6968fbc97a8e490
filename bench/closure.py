"""The lineage closure over a history of 50,000 runs and 100 million file accesses.

Makes the history in a real DuckDB file of the real schema, with pipelines that build on each other,
then starts a collector on it and asks. The same question as one recursive statement stands beside
it. Only measures.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb  # noqa: TID251 -- a file is filled faster than through the collector
import numpy as np
from bench.ingest import collector
from bench.report import Section, quantile, spread

from whence import Client
from whence_collector.graph import Graph
from whence_collector.lineage import ALWAYS
from whence_collector.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_collector.store import Reader

RUNS = 50_000
ACCESSES = int(os.environ.get("WHENCE_BENCH_ACCESSES", "100000000"))
PARENTS, VERSIONS, OUTPUTS = 10, 4, 20  # runs read from, files of each, files written
LIBRARIES = 200_000
STEP_NS = 10_000_000_000  # a run starts this long after the one before, and lasts half of it
NOON_NS = 1_750_000_000_000_000_000
ORACLE_STARTS = 5
ANSWERS = 60
UP = """
WITH RECURSIVE up(run_id, bound) AS (
    SELECT ?, ?::BIGINT
    UNION
    SELECT d.parent_run_id, least(up.bound, coalesce(d.written_ns, up.bound))
    FROM up JOIN run_dependency d ON d.child_run_id = up.run_id AND d.read_ns <= up.bound
)
SELECT run_id, max(bound) FROM up GROUP BY run_id
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """A history: a run builds on runs among the ``window`` before it, of its own project."""

    name: str
    window: int
    project_runs: int
    starts: int


SHAPES = (
    Shape("500 projects of 100 runs", 30, 100, 1_000),
    Shape("one project, each run on the 200 before it", 200, RUNS, 200),
    Shape("one chain of runs", 1, RUNS, 200),
)


def measure() -> Section:
    """Measure each shape in a file of its own."""
    rows: list[tuple[str, ...]] = []
    for shape in SHAPES:
        # Only the first has all accesses: the closure walks edges, whose number is the same.
        accesses = ACCESSES if shape is SHAPES[0] else RUNS * (PARENTS * VERSIONS + OUTPUTS)
        with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
            database = Path(folder) / "collector" / "whence.duckdb"
            _make(database, shape, accesses)
            rows += _closures(database, shape, accesses)
            if shape is SHAPES[0]:
                rows += _answers(Path(folder))
    return Section(
        "closure",
        "what a run came from, in a long history",
        "50 ms at p99 with 100,000,000 file accesses and 50,000 runs",
        f"{RUNS:,} runs, each reading {VERSIONS} files of each of {PARENTS} earlier runs (in the"
        " chain: of the one before it), writing"
        f" {OUTPUTS}, and reading libraries for the rest. Starts at random; the walk in"
        " memory as every answer takes it. The recursive statement is the oracle: it must find the"
        " same runs with the same bounds.",
        ("history", "what", "time"),
        tuple(rows),
    )


def _make(database: Path, shape: Shape, accesses: int) -> None:
    """Fill a new file."""
    Store(database).close()  # the schema
    dice = np.random.default_rng(7)
    child = np.repeat(np.arange(RUNS), PARENTS * VERSIONS)
    back = np.repeat(dice.integers(1, shape.window + 1, RUNS * PARENTS), VERSIONS)
    parent = child - back
    kept = (parent >= 0) & (child // shape.project_runs == parent // shape.project_runs)
    child, parent = child[kept], parent[kept]
    edges = {
        "child": child,
        "parent": parent,
        "version_id": parent * OUTPUTS + dice.integers(0, OUTPUTS, len(child)) + 1,
        "read_ns": NOON_NS + child * STEP_NS + dice.integers(0, STEP_NS // 4, len(child)),
        "written_ns": NOON_NS + parent * STEP_NS + STEP_NS // 2,
    }
    connection = duckdb.connect(str(database))
    connection.execute("SET enable_progress_bar = false")
    connection.register("edge", edges)
    libraries_each = max(accesses // RUNS - PARENTS * VERSIONS - OUTPUTS, 0)
    for statement in FILL.split(";\n"):
        if statement.strip():
            connection.execute(
                statement.replace("$libraries_each", str(libraries_each)).replace(
                    "$step", str(STEP_NS)
                )
            )
    connection.close()


FILL = f"""
INSERT INTO host VALUES (1, 'node', 'm');
INSERT INTO boot VALUES (1, 'boot', 1);
INSERT INTO process BY NAME
SELECT i + 1 AS process_id, 1 AS boot_id, i AS tgid, i AS start_ns, 0 AS image,
    {NOON_NS} + i * $step AS at_unix_ns, 2 AS origin, '/usr/bin/python3' AS exe,
    ['python3', 'stage.py'] AS argv, false AS arguments_truncated, 0 AS uid, 0 AS login_uid,
    1 AS session, 1 AS process_group, 0 AS terminal, 1 AS mount_namespace, 1 AS pid_namespace
FROM range({RUNS}) r(i);
INSERT INTO process_end BY NAME
SELECT i + 1 AS process_id, {NOON_NS} + i * $step + $step // 2 AS at_unix_ns, 0 AS exit_code,
    0 AS exit_signal, false AS replaced
FROM range({RUNS}) r(i);
INSERT INTO process_run SELECT i + 1, printf('%016x', i) FROM range({RUNS}) r(i);
INSERT INTO run BY NAME
SELECT printf('%016x', i) AS run_id, 'job' AS kind, i + 1 AS root_process_id, 1 AS host_id,
    'python3 stage.py' AS command, ['python3', 'stage.py'] AS argv,
    {NOON_NS} + i * $step AS started_ns, {NOON_NS} + i * $step + $step // 2 AS ended_ns,
    'succeeded' AS status, true AS complete
FROM range({RUNS}) r(i);
INSERT INTO path
SELECT i + 1, '/data/run' || (i // {OUTPUTS}) || '/part' || (i % {OUTPUTS}) || '.bin'
FROM range({RUNS * OUTPUTS}) r(i);
INSERT INTO path
SELECT {RUNS * OUTPUTS} + i + 1, '/usr/lib/python3/module' || i || '.py'
FROM range({LIBRARIES}) r(i);
INSERT INTO path_class
SELECT path_id, if(path_id <= {RUNS * OUTPUTS}, 'data', 'library'),
    if(path_id <= {RUNS * OUTPUTS}, 'code', 'library') FROM path;
INSERT INTO file_version
SELECT path_id, 1, 1, 8, path_id, 1, 0 FROM path;
INSERT INTO artifact BY NAME
SELECT path_id AS artifact_id, unhex(sha256(path)) AS blake3, 4096 AS size_bytes,
    {NOON_NS} AS first_seen_ns FROM path;
INSERT INTO version_digest BY NAME
SELECT path_id AS version_id, 1 AS state, path_id AS artifact_id, 4096 AS size_bytes,
    {NOON_NS} AS at_unix_ns, path_id FROM path;
INSERT INTO run_dependency BY NAME
SELECT printf('%016x', child) AS child_run_id, printf('%016x', parent) AS parent_run_id,
    version_id AS artifact_id, version_id, 'same-version' AS strength,
    min(read_ns) AS read_ns, any_value(written_ns) AS written_ns
FROM edge GROUP BY ALL ORDER BY child_run_id;
INSERT INTO access
SELECT child + 1, version_id, version_id, 1, 1, 4096, min(read_ns), min(read_ns), 0, 1
FROM edge GROUP BY child, version_id ORDER BY child;
INSERT INTO access
SELECT i // {OUTPUTS} + 1, i + 1, i + 1, 2, 1, 4096, seen_ns, seen_ns, 0, 1
FROM (SELECT i, {NOON_NS} + i // {OUTPUTS} * $step + $step // 2 AS seen_ns
    FROM range({RUNS * OUTPUTS}) r(i));
INSERT INTO access
SELECT i // $libraries_each + 1, file, file, 1, 1, 4096, seen_ns, seen_ns, 0, 1
FROM (SELECT i, {RUNS * OUTPUTS} + 1 + hash(i) % {LIBRARIES} AS file,
        {NOON_NS} + i // $libraries_each * $step AS seen_ns
    FROM range({RUNS} * $libraries_each) r(i));
"""  # noqa: S608 -- numbers of ours


def _closures(database: Path, shape: Shape, accesses: int) -> list[tuple[str, ...]]:
    """Walk in memory, and compare with the recursive statement."""
    name = f"{shape.name}, {accesses:,} accesses"
    store, graph = Store(database), Graph()
    try:
        with store.cursor() as reader:
            loading_s = _timed(lambda: graph.follow(reader))
            dice = random.Random(3)  # noqa: S311 -- no secrets
            walks, named, sizes = [], [], []
            for _ in range(shape.starts):
                start = f"{dice.randrange(RUNS):016x}"
                began = time.perf_counter()
                reached = graph.upstream({start: ALWAYS})
                walks.append((time.perf_counter() - began) * 1000)
                dict(reached.items())
                named.append((time.perf_counter() - began) * 1000)
                sizes.append(len(reached))
            statements = _against_oracle(reader, graph, dice)
    finally:
        store.close()
    return [
        (name, "edges into memory, once at the start", f"{loading_s:.1f} s"),
        (
            name,
            f"closure; {quantile(sizes, 0.5):,.0f} runs at p50, {max(sizes):,} at most",
            f"p50 {quantile(walks, 0.5):.2f} ms, **p99 {quantile(walks, 0.99):.2f} ms**,"
            f" greatest {max(walks):.1f} ms",
        ),
        (
            name,
            "the same with the name, bound and distance of every run, which no answer lists",
            f"p50 {quantile(named, 0.5):.2f} ms, p99 {quantile(named, 0.99):.2f} ms",
        ),
        (name, f"the recursive statement, {len(statements)} starts", spread(statements, "ms")),
    ]


def _against_oracle(reader: Reader, graph: Graph, dice: random.Random) -> list[float]:
    """Ask the recursive statement from early starts, whose closures are small enough for it."""
    found = []
    for _ in range(ORACLE_STARTS):
        start = f"{dice.randrange(RUNS // 500):016x}"
        began = time.perf_counter()
        expected: dict[str, int] = dict(reader.rows(UP, (start, ALWAYS)))
        found.append((time.perf_counter() - began) * 1000)
        walked = {run: each.bound_ns for run, each in graph.upstream({start: ALWAYS}).items()}
        if walked != expected:
            raise SystemExit(f"the closure of {start} differs from the recursive statement's")
    return found


def _answers(folder: Path) -> list[tuple[str, ...]]:
    """Ask a collector for whole answers."""
    began = time.perf_counter()
    with collector(str(folder)) as (address, _), Client(address) as client:
        starting_s = time.perf_counter() - began
        dice = random.Random(5)  # noqa: S311 -- no secrets
        client.lineage(f"{RUNS - 1:016x}")  # loads the edges
        times = []
        for _ in range(ANSWERS):
            began = time.perf_counter()
            client.lineage(f"{dice.randrange(RUNS):016x}")
            times.append((time.perf_counter() - began) * 1000)
    began = time.perf_counter()
    with collector(str(folder)):
        again_s = time.perf_counter() - began
    return [
        (
            "the same, through a collector",
            "start to serving: the first, which reads every access; the next ones",
            f"{starting_s:.1f} s; {again_s:.1f} s",
        ),
        (
            "the same, through a collector",
            f"`whence lineage RUN`, whole answers with their files, {ANSWERS} of them",
            f"p50 {quantile(times, 0.5):.0f} ms, p99 {quantile(times, 0.99):.0f} ms",
        ),
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
