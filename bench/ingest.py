"""Rows per second into a collector: real gRPC, real DuckDB file, acks counted after the fsync.

Prints rows/s and rows per CPU second of the collector, for batches as daemons send them. Only
measures; nothing here decides whether a figure is good.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc.aio

from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import ingest_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
FIELDS_BEFORE_TIMES = 11  # of /proc/PID/stat, counted after the command name


INPUTS = 50  # files of a data set that each process of a batch reads
OUTPUTS = 45  # files that the batch's processes write, each one of them
PASSED_ON = 5  # outputs of the batch before that each process reads
INPUT_POOL = 20_000
KNOWN_START_COLUMNS = ("process", "parent", "at_ns", "origin", "exe_text", "cwd_text")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is sent: streams side by side, batches of each, rows in a batch (about)."""

    streams: int
    batches: int
    rows: int
    inflight: int  # batches that a stream has unacknowledged at most

    @property
    def processes(self) -> int:
        """How many processes make about as many accesses as rows are asked for."""
        return max(1, (self.rows - OUTPUTS) // (INPUTS + PASSED_ON))


def batch(stream: int, number: int, shape: Shape) -> wire.Batch:
    """Make a batch as a pipeline stage makes it: processes that read a data set and write files.

    As daemons do, it holds one row for each (process, file, path, op).
    """
    made = wire.Batch(
        host=f"host{stream}",
        boot_id=f"boot-{stream}",
        epoch=f"epoch-{stream}",
        number=number,
        wall_offset_ns=1_700_000_000_000_000_000,
        base_ns=number * 1_000_000_000,
    )
    _add_files(made, stream, number)
    made.strings.extend(["/usr/bin/python3.11", "train.py", "/data"])
    _add_processes(made, number, shape.processes)
    _add_accesses(made, shape.processes)
    _add_digests(made, random.Random(stream * 1_000_003 + number))  # noqa: S311 -- no secrets
    return made


def _add_files(made: wire.Batch, stream: int, number: int) -> None:
    first_output = INPUT_POOL + number * OUTPUTS
    inodes = [
        *((number * INPUTS + at) % INPUT_POOL for at in range(INPUTS)),
        *range(first_output - PASSED_ON, first_output + OUTPUTS),
    ]
    made.strings.extend(f"/data/project{stream}/part-{at // 100:05d}/{at:08d}" for at in inodes)
    files = made.file_versions
    files.inode.extend(inodes)
    files.device.extend([8 << 20 | 1] * len(inodes))
    files.generation.extend([1] * len(inodes))
    files.version.extend(0 if at < INPUT_POOL else 1 << 32 for at in inodes)


def _add_processes(made: wire.Batch, number: int, processes: int) -> None:
    """Add one parent, known from the first batch on, and its children of this batch."""
    exe = len(made.strings) - 2
    keys, starts, ends = made.process_keys, made.process_starts, made.process_ends
    first = 2000 + number * processes
    keys.tgid.extend([1000, *range(first, first + processes)])
    keys.start_ns.extend([1] + [number * 1_000_000_000] * processes)
    keys.image.extend([0] * (processes + 1))
    children = range(2, processes + 2)
    starts.process.extend(children)
    starts.parent.extend([1] * processes)
    starts.at_ns.extend([0] * processes)
    starts.origin.extend([wire.PROCESS_ORIGIN_EXEC] * processes)
    starts.exe_text.extend([exe] * processes)
    starts.cwd_text.extend([exe + 2] * processes)
    starts.argument_count.extend([2] * processes)
    starts.argument_text.extend([exe, exe + 1] * processes)
    for field in starts.DESCRIPTOR.fields:
        if field.name not in KNOWN_START_COLUMNS and not field.name.startswith("argument_"):
            getattr(starts, field.name).extend([0] * processes)
    ends.process.extend(children)
    ends.at_ns.extend([900_000_000] * processes)
    for column in (ends.exit_code, ends.exit_signal):
        column.extend([0] * processes)
    ends.replaced.extend([False] * processes)


def _add_accesses(made: wire.Batch, processes: int) -> None:
    reads = [
        (process, file, wire.ACCESS_OP_READ)
        for process in range(2, processes + 2)
        for file in range(1, INPUTS + PASSED_ON + 1)
    ]
    writes = [
        (2 + at % processes, INPUTS + PASSED_ON + 1 + at, wire.ACCESS_OP_WRITE)
        for at in range(OUTPUTS)
    ]
    accesses, rows = made.accesses, reads + writes
    accesses.process.extend(process for process, _, _ in rows)
    accesses.file.extend(file for _, file, _ in rows)
    accesses.path_text.extend(file for _, file, _ in rows)
    accesses.op.extend(op for _, _, op in rows)
    accesses.ops.extend(at % 100 + 1 for at in range(len(rows)))
    accesses.bytes.extend(at * 4096 for at in range(len(rows)))
    accesses.first_ns.extend(at * 1000 for at in range(len(rows)))
    accesses.last_ns.extend(at * 1000 + 500 for at in range(len(rows)))
    accesses.flags.extend([0] * len(rows))
    accesses.mount_namespace.extend([4026531840] * len(rows))


def _add_digests(made: wire.Batch, dice: random.Random) -> None:
    digests = made.digests
    written = range(INPUTS + PASSED_ON + 1, INPUTS + PASSED_ON + OUTPUTS + 1)
    digests.file.extend(written)
    digests.path_text.extend(written)
    digests.state.extend([wire.DIGEST_STATE_VERIFIED] * OUTPUTS)
    digests.blake3.extend(dice.randbytes(32) for _ in written)
    digests.sha256.extend(dice.randbytes(32) for _ in written)
    digests.size_bytes.extend([1 << 20] * OUTPUTS)
    digests.reason_text.extend([0] * OUTPUTS)
    digests.at_ns.extend([5_000_000] * OUTPUTS)


def row_count(each: wire.Batch) -> int:
    """Count the rows of a batch without its dictionaries."""
    tables = (each.process_starts, each.process_ends, each.accesses)
    return sum(len(table.process) for table in tables) + len(each.digests.file)


async def send(address: str, stream: int, batches: list[wire.Batch], inflight: int) -> list[float]:
    """Deliver the batches in order; return the seconds from each one's sending to its ack."""
    room = asyncio.Semaphore(inflight)
    sent: dict[int, float] = {}
    waits: list[float] = []

    async def messages() -> AsyncIterator[wire.FromDaemon]:
        hello = wire.Hello(host=f"host{stream}", boot_id=f"boot-{stream}", wire_version=1)
        yield wire.FromDaemon(hello=hello)
        for each in batches:
            await room.acquire()
            sent[each.number] = time.perf_counter()
            yield wire.FromDaemon(batch=each)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = cast("ingest_pb2_grpc.IngestAsyncStub", ingest_pb2_grpc.IngestStub(channel))
        async for reply in stub.Deliver(messages()):
            if reply.WhichOneof("message") == "ack":
                for number in [number for number in sent if number <= reply.ack.number]:
                    waits.append(time.perf_counter() - sent.pop(number))
                    room.release()
    return waits


@contextmanager
def collector(data_dir: str) -> Iterator[tuple[str, int]]:
    """Run a collector on a free port; give its address and process id."""
    paths = os.pathsep.join(str(ROOT / part) for part in ("proto", "collector"))
    process = subprocess.Popen(
        [sys.executable, "-m", "whence_collector"],
        env=os.environ
        | {"PYTHONPATH": paths, "WHENCE_ADDRESS": "127.0.0.1:0", "WHENCE_DATA_DIR": data_dir},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101 -- a pipe was asked for
    try:
        for line in process.stderr:
            if line.startswith("serving on "):
                yield line.split()[-1], process.pid
                return
        raise SystemExit("the collector did not start")
    finally:
        process.terminate()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = after_name.split()[FIELDS_BEFORE_TIMES : FIELDS_BEFORE_TIMES + 2]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def measure(address: str, pid: int, shape: Shape) -> None:
    """Send everything and print one line of figures."""
    batches = [
        [batch(stream, number, shape) for number in range(1, shape.batches + 1)]
        for stream in range(shape.streams)
    ]
    began, cpu_began = time.perf_counter(), cpu_seconds(pid)
    sending = (send(address, at, each, shape.inflight) for at, each in enumerate(batches))
    waits = sorted(wait for one in await asyncio.gather(*sending) for wait in one)
    elapsed_s, cpu_s = time.perf_counter() - began, cpu_seconds(pid) - cpu_began
    rows = sum(row_count(each) for one in batches for each in one)
    print(
        f"{shape.streams} x {shape.batches} batches of {row_count(batches[0][0])} rows: "
        f"{rows / elapsed_s:,.0f} rows/s, {rows / cpu_s:,.0f} rows per collector CPU second, "
        f"ack p50 {waits[len(waits) // 2] * 1000:.0f} ms, "
        f"p99 {waits[len(waits) * 99 // 100] * 1000:.0f} ms"
    )


def main() -> None:
    """Measure with the sizes that the flags give."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--batches", type=int, default=200, help="of each stream")
    parser.add_argument("--rows", type=int, default=1000, help="of each batch, about")
    parser.add_argument("--inflight", type=int, default=32)
    flags = parser.parse_args()
    shape = Shape(flags.streams, flags.batches, flags.rows, flags.inflight)
    with (
        tempfile.TemporaryDirectory(prefix="whence-bench-") as data_dir,
        collector(data_dir) as (address, pid),
    ):
        asyncio.run(measure(address, pid, shape))


if __name__ == "__main__":
    main()
