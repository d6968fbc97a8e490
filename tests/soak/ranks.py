"""`python -m tests.soak.ranks`: a real torchrun, eight ranks on the CPU, one run with all shards.

Needs PyTorch for the system's interpreter (`make ranks` installs Debian's). Ends with 1 when the
answer is another than the job's own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.addresses import free_address
from tests.asking import Whence, settled
from tests.scope import Scope
from tools.instance import Instance, bring_down, bring_up

RANKS = 8
TRAIN = """\
import json
import os

import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
data = torch.frombuffer(bytearray(open(f"data/part{rank}", "rb").read()), dtype=torch.uint8)
total = data.float().sum()
dist.all_reduce(total)
os.makedirs("checkpoint", exist_ok=True)
torch.save({"weight": total, "rank": rank}, f"checkpoint/rank{rank}.pt")
dist.barrier()
if rank == 0:
    json.dump({"shards": world, "sum": total.item()}, open("checkpoint/index.json", "w"))
dist.destroy_process_group()
"""
# What goes where is said: the defaults of PyTorch 1.13 are no longer understood by Python 3.11.
LAUNCH = [
    *("python3", "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={RANKS}"),
    *("--redirects", "1", "--tee", "2"),
]

Edges = set[tuple[str, str]]


def expected() -> Edges:
    """Return what the job reads and makes."""
    parts = {("input", f"data/part{rank}") for rank in range(RANKS)}
    shards = {("output", f"checkpoint/rank{rank}.pt") for rank in range(RANKS)}
    return parts | shards | {("output", "checkpoint/index.json")}


def told(whence: Whence, place: Path) -> tuple[set[str], Edges]:
    """Return the runs that the files in the place belong to, and the files by direction."""
    runs: set[str] = set()
    edges: Edges = set()
    for kind in ("input", "output"):
        for row in whence.sql(
            f"SELECT run_id, path FROM run_{kind}s WHERE path LIKE '{place}/data/%'"  # noqa: S608 - ours
            f" OR path LIKE '{place}/checkpoint/%'"
        ):
            runs.add(row["run_id"])
            edges.add((kind, row["path"].removeprefix(f"{place}/")))
    return runs, edges


def main() -> int:
    """Run the job in a control group of its own; return the exit status."""
    scope = Scope.create(f"whence-ranks-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="whence-ranks-") as folder:
        place, instance = Path(folder) / "job", Instance(Path(folder) / "whence", free_address())
        (place / "data").mkdir(parents=True)
        instance.data_dir.mkdir()
        settings = instance.data_dir / "whenced.toml"
        settings.touch()
        for rank in range(RANKS):
            (place / "data" / f"part{rank}").write_bytes(bytes([rank]) * 4096)
        (place / "train.py").write_text(TRAIN)
        bring_up(instance, ["--cgroup", str(scope.directory), "--config", str(settings)])
        try:
            scope.run([*LAUNCH, "train.py"], place)
            whence = Whence(instance)
            settled(lambda: told(whence, place)[1], expected())
            runs, edges = told(whence, place)
            (proof,) = whence.sql(
                f"SELECT complete, incomplete_reason, kind FROM runs WHERE cwd = '{place}'"  # noqa: S608 - ours
            )
        finally:
            bring_down(instance)
            scope.remove()
    right = edges == expected() and len(runs) == 1 and proof["complete"]
    sys.stdout.write(
        f"{RANKS} ranks: {len(runs)} run ({proof['kind']}), {len(edges)} of {len(expected())}"
        f" edges, complete: {proof['complete']} {proof['incomplete_reason'] or ''}\n"
    )
    for edge in sorted(edges ^ expected()):
        sys.stdout.write(f"differs: {' '.join(edge)}\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
