"""A dataset of 1,200 shards: one edge with its coverage, also after one of them was mended."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import write_job
from tests.scope import Scope

pytestmark = pytest.mark.kernel

SHARDS = 1200
MAKE = f"""\
import os
os.makedirs("shards")
for n in range({SHARDS}):
    with open(f"shards/{{n:05}}.bin", "wb") as shard:
        shard.write(b"%05d" % n * 100)
"""
MEND = 'open("shards/00700.bin", "wb").write(b"mended" * 50)\n'
TRAIN = """\
import hashlib, sys
total = hashlib.sha256()
for n in range(int(sys.argv[1])):
    total.update(open(f"shards/{n:05}.bin", "rb").read())
open(sys.argv[2], "w").write(total.hexdigest() * 4)
"""
CHECKPOINT = """\
import json, os
os.makedirs("out/step-40")
for part in (1, 2):
    with open(f"out/step-40/model-0000{part}-of-00002.safetensors", "wb") as shard:
        shard.write(b"weights of part %d" % part * 200)
with open("out/step-40/model.safetensors.index.json", "w") as index:
    json.dump({"metadata": {"total_size": 7200}, "weight_map": {"a": 1, "b": 2}}, index)
"""


def edges(whence: Whence, place: Path, script: str) -> list[tuple[object, ...]]:
    """Return (op, folder, members touched, members) of the trees of a script's runs, in order."""
    query = (
        "SELECT t.op, t.path, t.members_touched, t.members FROM run_trees t JOIN runs r"  # noqa: S608 -- our own words
        f" USING (run_id) WHERE r.cwd = '{place}' AND r.argv[2] = '{script}' ORDER BY r.started_at"
    )
    rows = [tuple(row.values()) for row in whence.sql(query)]
    return [(op, str(Path(path).relative_to(place)), *rest) for op, path, *rest in rows]


def test_twelve_hundred_shards_are_one_edge_with_its_coverage(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, make_py=MAKE, mend_py=MEND, train_py=TRAIN)
    made = [("write", "shards", SHARDS, SHARDS)]
    scope.run(["python3", "make.py"], place)
    assert settled(partial(edges, whence, place, "make.py"), made) == made

    scope.run(["python3", "train.py", str(SHARDS), "all.pt"], place)
    scope.run(["python3", "train.py", "1100", "some.pt"], place)
    read = [("read", "shards", SHARDS, SHARDS), ("read", "shards", 1100, SHARDS)]
    assert settled(partial(edges, whence, place, "train.py"), read) == read
    assert "1,200 of 1,200 members" in whence.run(place / "all.pt").stdout
    assert "1,100 of 1,200 members" in whence.run(place / "some.pt").stdout

    scope.run(["python3", "mend.py"], place)
    mended = [("write", "shards", 1, SHARDS)]
    assert settled(partial(edges, whence, place, "mend.py"), mended) == mended
    scope.run(["python3", "train.py", "1000", "mended.pt"], place)
    read += [("read", "shards", 1000, SHARDS)]
    assert settled(partial(edges, whence, place, "train.py"), read) == read
    trees = whence.sql(
        f"SELECT DISTINCT tree FROM run_trees WHERE path = '{place}/shards'"  # noqa: S608 -- our own words
    )
    assert len(trees) == 2


def test_a_checkpoint_in_two_parts_is_a_tree(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, save_py=CHECKPOINT)
    scope.run(["python3", "save.py"], place)

    saved = [("write", "out/step-40", 3, 3)]
    assert settled(partial(edges, whence, place, "save.py"), saved) == saved
    (row,) = whence.sql(
        f"SELECT kind, step FROM run_trees WHERE path = '{place}/out/step-40'"  # noqa: S608 -- our own words
    )
    assert row == {"kind": "checkpoint", "step": 40}
