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
import threading
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


# What one process of a batch does, about as a daemon reports it: 30 % of its accesses are of files
# that nobody touched before; libraries are read and mapped; outputs of the batch before are read.
LIBRARIES = 29
NEW_INPUTS = 18
PASSED_ON = 5
OUTPUTS = 9
ROWS = 2 * LIBRARIES + NEW_INPUTS + PASSED_ON + 2 * OUTPUTS + 2  # digests, start and end too
LIBRARIES_IN_USE = 200  # of a batch, by all of its processes
LIBRARY_POOL = 20_000
FIRST_INPUT, FIRST_OUTPUT = 1 << 24, 1 << 28  # inode numbers
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
        """How many processes make about as many rows as are asked for."""
        return max(1, round(self.rows / ROWS))


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a batch by purpose, as indexes into its file versions and its strings."""

    libraries: range
    inputs: range
    passed_on: range
    outputs: range


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
    files = _add_files(made, f"/data/project{stream}", number, shape.processes)
    made.strings.extend(["/usr/bin/python3.11", "train.py", "/data"])
    _add_processes(made, number, shape.processes)
    _add_accesses(made, files, shape.processes)
    dice = random.Random(stream * 1_000_003 + number)  # noqa: S311 -- no secrets
    _add_digests(made, files.outputs, dice)
    return made


def _add_files(made: wire.Batch, project: str, number: int, processes: int) -> Files:
    slide = number * LIBRARIES_IN_USE // 40
    libraries = [(slide + at) % LIBRARY_POOL for at in range(LIBRARIES_IN_USE)]
    inputs = range(FIRST_INPUT + number * NEW_INPUTS * processes, FIRST_OUTPUT)
    first_output = FIRST_OUTPUT + number * OUTPUTS * processes
    outputs = range(first_output - PASSED_ON * processes, first_output + OUTPUTS * processes)
    inputs = inputs[: NEW_INPUTS * processes]
    made.strings.extend(
        f"/opt/env/lib/python3.11/site-packages/package{at // 100}/module_{at:05d}.py"
        for at in libraries
    )
    made.strings.extend(f"{project}/part-{at // 100:05d}/{at:08d}" for at in (*inputs, *outputs))
    files = made.file_versions
    files.inode.extend((*libraries, *inputs, *outputs))
    files.device.extend([8 << 20 | 1] * len(files.inode))
    files.generation.extend([1] * len(files.inode))
    files.version.extend([0] * (len(libraries) + len(inputs)) + [1 << 32] * len(outputs))
    at_input = 1 + len(libraries)
    at_passed_on = at_input + len(inputs)
    at_output = at_passed_on + PASSED_ON * processes
    return Files(
        range(1, at_input),
        range(at_input, at_passed_on),
        range(at_passed_on, at_output),
        range(at_output, at_output + OUTPUTS * processes),
    )


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


def _touched(files: Files, nth: int) -> Iterator[tuple[int, wire.AccessOp.ValueType]]:
    """Yield what the nth process of a batch touches, and how."""
    first = nth * LIBRARIES
    for at in range(first, first + LIBRARIES):
        library = files.libraries[at % LIBRARIES_IN_USE]
        yield library, wire.ACCESS_OP_READ
        yield library, wire.ACCESS_OP_MAP
    for read, each in ((files.inputs, NEW_INPUTS), (files.passed_on, PASSED_ON)):
        for file in read[nth * each : (nth + 1) * each]:
            yield file, wire.ACCESS_OP_READ
    for file in files.outputs[nth * OUTPUTS : (nth + 1) * OUTPUTS]:
        yield file, wire.ACCESS_OP_WRITE


def _add_accesses(made: wire.Batch, files: Files, processes: int) -> None:
    rows = [(nth + 2, file, op) for nth in range(processes) for file, op in _touched(files, nth)]
    accesses = made.accesses
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


def _add_digests(made: wire.Batch, written: range, dice: random.Random) -> None:
    digests = made.digests
    digests.file.extend(written)
    digests.path_text.extend(written)
    digests.state.extend([wire.DIGEST_STATE_VERIFIED] * len(written))
    digests.blake3.extend(dice.randbytes(32) for _ in written)
    digests.sha256.extend(dice.randbytes(32) for _ in written)
    digests.size_bytes.extend([1 << 20] * len(written))
    digests.reason_text.extend([0] * len(written))
    digests.at_ns.extend([5_000_000] * len(written))


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
                # A pipe that nobody empties would stop the collector at its next line.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield line.split()[-1], process.pid
                return
        raise SystemExit("the collector did not start")
    finally:
        process.terminate()
        process.wait()


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
    parser.add_argument("--inflight", type=int, default=64, help="a daemon's window")
    flags = parser.parse_args()
    shape = Shape(flags.streams, flags.batches, flags.rows, flags.inflight)
    with (
        tempfile.TemporaryDirectory(prefix="whence-bench-") as data_dir,
        collector(data_dir) as (address, pid),
    ):
        asyncio.run(measure(address, pid, shape))


if __name__ == "__main__":
    main()
