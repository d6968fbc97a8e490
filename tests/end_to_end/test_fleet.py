"""One training job over two hosts, each with its own daemon: one run, whole lineage.

Every path is the same on both hosts and no disk is shared: only contents tie them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.asking import settled
from tests.end_to_end.jobs import RAW, Rows, digest_of, rows
from tests.fleet import HOME, Fleet, Host, fleet, scp_to, sshd_on

pytestmark = pytest.mark.kernel

TORCHRUN = Path(__file__).resolve().parent.parent / "workloads" / "torchrun"
JOB = HOME / "job"

PREPARE = """\
lines = open("raw.csv").read()
for n in range(4):
    open(f"shard-{n}.csv", "w").write(f"{n}\\n" + lines)
"""
# Every rank leaves a file of its own; on the first attempt one of the second host is killed.
TRAIN = """\
import os, signal, time
rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
data = open(f"shard-{rank}.csv").read()
if rank == 3 and attempt == 0:
    os.kill(os.getpid(), signal.SIGKILL)
if attempt == 0:
    time.sleep(60)
open(f"part-{rank}.bin", "w").write(f"weights {rank} " + data * 2)
"""
JOIN = """\
parts = [open(f"part-{n}.bin").read() for n in range(4)]
open("model.bin", "w").write("".join(parts))
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    names = ("node-a", "node-b")
    with ExitStack() as stack:
        made = stack.enter_context(fleet(tmp_path_factory.mktemp("fleet"), names))
        for host in made.hosts:
            stack.enter_context(sshd_on(host))
            for name, text in (("prepare", PREPARE), ("train", TRAIN), ("join", JOIN)):
                host.write(f"job/{name}.py", text)
            host.write("bin/torchrun", TORCHRUN.read_bytes())
            host.run(["chmod", "755", "/mnt/bin/torchrun"])
        yield made


def trained(host: Host, rank: int) -> list[str]:
    return [
        "/mnt/bin/torchrun", "--nnodes=2", "--nproc-per-node=2", "--max-restarts=1",
        f"--node-rank={rank}", "--rdzv-backend=c10d", "--rdzv-endpoint=node-a:29400", "train.py",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(hosts: Fleet) -> tuple[bytes, bytes]:
    """Prepare on one host, copy shards to the other, train on both, join and copy back."""
    first, second = hosts.hosts
    raw = b"of the fleet\n" + RAW
    first.write("job/raw.csv", raw)
    first.run(["python3", "prepare.py"], JOB)
    first.run([*scp_to(second), "shard-2.csv", "shard-3.csv", f"root@node-b:{JOB}/"], JOB)

    ranks = [host.start(trained(host, n), JOB) for n, host in enumerate(hosts.hosts)]
    ended = [(rank.communicate(timeout=60), rank.returncode) for rank in ranks]
    assert [code for _, code in ended] == [0, 0], ended

    second.run([*scp_to(first), "part-2.bin", "part-3.bin", f"root@node-a:{JOB}/"], JOB)
    first.run(["python3", "join.py"], JOB)
    return raw, first.read(JOB / "model.bin")


def test_ranks_of_both_hosts_and_both_attempts_are_one_run(
    hosts: Fleet, pipeline: tuple[bytes, bytes]
) -> None:
    count = "(SELECT count(*) FROM run_hosts h WHERE h.run_id = r.run_id) AS hosts"
    ask = partial(
        rows, hosts.whence, f"command, status, world_size, attempts, {count}", "runs r",
        "command LIKE 'torchrun%' OR command LIKE '%train.py%'",
    )  # fmt: skip

    found = settled(lambda: len(ask()), 1)

    assert found == 1, ask()
    ((command, status, *sizes),) = ask()
    assert str(command).startswith("torchrun --nnodes=2")
    assert (status, sizes) == ("succeeded", [4, 2, 2])


def outputs(hosts: Fleet) -> Rows:
    views = "run_outputs o JOIN runs r USING (run_id)"
    return rows(hosts.whence, "o.path, o.artifact", views, "r.world_size = 4")


def test_outputs_of_both_hosts_are_its_outputs(hosts: Fleet, pipeline: tuple[bytes, bytes]) -> None:
    parts = [hosts.hosts[n // 2].read(JOB / f"part-{n}.bin") for n in range(4)]
    expected = {(f"part-{n}.bin", digest_of(part)) for n, part in enumerate(parts)}

    assert settled(partial(outputs, hosts), expected) == expected


def test_lineage_crosses_hosts_by_content(hosts: Fleet, pipeline: tuple[bytes, bytes]) -> None:
    raw, model = pipeline
    whence = hosts.whence

    def sources() -> set[str]:
        said = whence.run("lineage", digest_of(model), "--json")
        return {word for word in said.stdout.split('"') if word.startswith("blake3:")}

    assert settled(lambda: digest_of(raw) in sources(), True)
    told = whence.run("lineage", digest_of(model)).stdout
    assert "prepare.py" in told
    assert "torchrun" in told
    assert whence.run(digest_of(model)).code == 0


def test_a_host_asks_with_what_stands_on_its_own_disk(
    hosts: Fleet, pipeline: tuple[bytes, bytes]
) -> None:
    shown = settled(lambda: hosts.whence.run("show", _training(hosts)).code, 0)
    text = hosts.whence.run("show", _training(hosts)).stdout

    assert shown == 0
    assert "node-a" in text
    assert "node-b" in text


def _training(hosts: Fleet) -> str:
    ((run_id,),) = rows(hosts.whence, "run_id", "runs", "world_size = 4")
    return str(run_id)
