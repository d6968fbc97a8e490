"""One collector under a thousand daemons that send what a real daemon sent, while people ask.

Records the batches of real runs from a real daemon, then plays them in the names of many hosts.
Only measures. `python -m bench.fleet --help` has the sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from bench.report import Section, quantile
from bench.stage import cpu_s, daemon_of, resident_bytes, settings_of
from tests.addresses import free_address
from tests.scope import Scope
from tools.instance import COLLECTOR, Instance, running, start, stop

from whence.client import Client
from whence.errors import NotFoundError
from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import ingest_pb2_grpc
from whenced.uplink import METHOD, frame

GRACE_S = 20.0
CHANNELS = 20  # connections that the streams share: a thousand sockets are not what is measured
DICTIONARIES = (wire.ProcessKeys, wire.FileVersions)
# One step of a pipeline as a shell script: reads 40 shards, writes two files, runs an interpreter.
JOB = """
set -e
mkdir -p shards
for n in $(seq 40); do echo "shard $n $1" > shards/$n; done
cat shards/* > merged.$1
python3 -c "import json, sys; json.dump(open(sys.argv[1]).read(), open(sys.argv[2], 'w'))" \
    merged.$1 model.$1
cp model.$1 kept.$1
"""


ENTER = 'echo 0 > "$2/cgroup.procs"'


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the fleet is, how often each daemon sends, and for how long."""

    daemons: int = 1000
    rows_per_second: float = 10.0  # of a daemon; what a busy host makes
    seconds: float = 80.0
    runs: int = 12


@dataclass
class Recorder(ingest_pb2_grpc.IngestServicer):
    """A collector that keeps batches and acks them."""

    batches: list[wire.Batch] = field(default_factory=list)

    def Deliver(  # noqa: N802 -- the wire's name
        self, request_iterator: Iterator[wire.FromDaemon], context: grpc.ServicerContext
    ) -> Iterator[wire.FromCollector]:
        """Answer one daemon."""
        next(request_iterator)
        yield wire.FromCollector(welcome=wire.Welcome(collector_version="0"))
        for message in request_iterator:
            batch = wire.Batch.FromString(message.batch.SerializeToString())
            self.batches.append(batch)
            yield wire.FromCollector(ack=wire.Ack(epoch=batch.epoch, number=batch.number))


def record(runs: int) -> list[wire.Batch]:
    """Return the batches of real runs under a real daemon, in their order."""
    recorder, address = Recorder(), free_address()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    ingest_pb2_grpc.add_IngestServicer_to_server(recorder, server)
    server.add_insecure_port(address)
    server.start()
    scope = Scope.create(f"whence-fleet-{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="whence-fleet-") as folder:
        place = Path(folder).resolve()
        instance = Instance(place / "data", address)
        (instance.data_dir / "run").mkdir(parents=True)
        settings_of(instance).touch()
        daemon = daemon_of(instance, scope)
        start(instance, daemon)
        try:
            for number in range(runs):
                # Not by Scope.run: what it does between fork and exec fails beside gRPC's threads.
                words = ["sh", "-c", ENTER + JOB, "job", str(number), str(scope.directory)]
                subprocess.run(words, cwd=place, check=True)
                time.sleep(0.4)  # a batch of its own for each
            time.sleep(6.0)  # longer than an idle daemon waits with what it has
        finally:
            stop(instance, daemon)
            scope.remove()
            server.stop(None).wait()
    if not recorder.batches:
        raise SystemExit("the daemon sent nothing: its log tells why")
    return recorder.batches


@dataclass(frozen=True, slots=True)
class Recorded:
    """A batch as bytes; what is said again behind it wins, so that none is parsed to be played."""

    payload: bytes
    base_ns: int
    rows: int

    @classmethod
    def of(cls, batch: wire.Batch) -> Recorded:
        """Keep a batch that a real daemon sent."""
        return cls(batch.SerializeToString(), batch.base_ns, row_count(batch))

    def played(self, daemon: int, number: int) -> bytes:
        """Return a FromDaemon with it as another daemon's, later in its life."""
        later_ns = self.base_ns + number * 1_000_000_000
        other = wire.Batch(host=host(daemon), boot_id=f"boot-{daemon}", base_ns=later_ns)
        other.epoch, other.number = f"{daemon:032x}", number
        return frame(self.payload + other.SerializeToString())


def hello(daemon: int) -> bytes:
    """Return the first message of a daemon's stream."""
    said = wire.Hello(host=host(daemon), boot_id=f"boot-{daemon}", wire_version=1)
    return wire.FromDaemon(hello=said).SerializeToString()


def host(daemon: int) -> str:
    """Name a host of the fleet."""
    return f"gpu-{daemon:04d}"


def row_count(batch: wire.Batch) -> int:
    """Return how many rows a batch brings; its dictionaries are none."""
    tables = (table for field, table in batch.ListFields() if field.message_type is not None)
    columns = (table.ListFields() for table in tables if type(table) not in DICTIONARIES)
    return sum(len(filled[0][1]) for filled in columns if filled)


@dataclass(slots=True)
class Heard:
    """What the fleet measured."""

    waits_s: list[float] = field(default_factory=list)
    rows: int = 0
    batches: int = 0


class Fleet:
    """Many daemons in this process."""

    def __init__(self, address: str, batches: list[wire.Batch], shape: Shape) -> None:
        self._address, self._shape = address, shape
        self._batches = [Recorded.of(batch) for batch in batches]
        self._every_s = statistics.mean(each.rows for each in self._batches) / shape.rows_per_second
        self.heard = Heard()
        self._numbers = [1] * shape.daemons  # of the next batch of each: a gap would be a loss

    async def run(self, *, paced: bool, seconds: float) -> Heard:
        """Play for a while; ``paced``: each daemon at its own pace, else as fast as acks come.

        Acks that come later than GRACE_S after the end are not waited for.
        """
        self.heard = Heard()
        channels = [grpc.aio.insecure_channel(self._address) for _ in range(CHANNELS)]
        until_s = time.monotonic() + seconds
        playing = [
            asyncio.create_task(self._daemon(channels[daemon % CHANNELS], daemon, paced, until_s))
            for daemon in range(self._shape.daemons)
        ]
        _, late = await asyncio.wait(playing, timeout=seconds + GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        for channel in channels:
            await channel.close()
        return self.heard

    async def _daemon(
        self, channel: grpc.aio.Channel, daemon: int, paced: bool, until_s: float
    ) -> None:
        deliver: Any = channel.stream_stream(
            METHOD, response_deserializer=wire.FromCollector.FromString
        )
        sent_s: dict[int, tuple[float, int]] = {}
        acked = asyncio.Event()

        async def say() -> AsyncIterator[bytes]:
            yield hello(daemon)
            phase = random.random()  # noqa: S311 -- no secret
            await asyncio.sleep(phase * self._every_s if paced else 0)
            while time.monotonic() < until_s:
                number = self._numbers[daemon]
                self._numbers[daemon] += 1
                batch = self._batches[(daemon + number) % len(self._batches)]
                sent_s[number] = (time.monotonic(), batch.rows)
                acked.clear()
                yield batch.played(daemon, number)
                if paced:
                    await asyncio.sleep(self._every_s)
                else:
                    await acked.wait()

        async for reply in deliver(say()):
            if reply.WhichOneof("message") == "ack":
                self._acked(sent_s, reply.ack.number)
                acked.set()

    def _acked(self, sent_s: dict[int, tuple[float, int]], number: int) -> None:
        """An ack is for all batches up to its number."""
        for each in [each for each in sent_s if each <= number]:
            began_s, rows = sent_s.pop(each)
            self.heard.waits_s.append(time.monotonic() - began_s)
            self.heard.rows += rows
            self.heard.batches += 1


class Asker:
    """Somebody who asks about a content, ten times a second, on one connection."""

    def __init__(self, address: str, digests: list[str]) -> None:
        self.waits_s: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(address, digests))
        self._thread.start()

    def stop(self) -> list[float]:
        """End; return how long each answer took."""
        self._stop.set()
        self._thread.join()
        return self.waits_s

    def _ask(self, address: str, digests: list[str]) -> None:
        with Client(address) as client:
            while not self._stop.wait(0.1):
                began_s = time.monotonic()
                try:
                    client.find(digest=random.choice(digests))  # noqa: S311 -- no secret
                except NotFoundError:
                    continue

                self.waits_s.append(time.monotonic() - began_s)


@contextmanager
def collector() -> Iterator[tuple[Instance, int]]:
    """Start a collector of the benchmark's own; give its process id too."""
    with tempfile.TemporaryDirectory(prefix="whence-fleet-") as folder:
        instance = Instance(Path(folder).resolve() / "data", free_address())
        (instance.data_dir / "run").mkdir(parents=True)
        start(instance, COLLECTOR)
        started = running(instance, COLLECTOR)
        assert started is not None  # noqa: S101 -- start() waits until it answers
        try:
            yield instance, started.pid
        finally:
            stop(instance, COLLECTOR)


def measure(shape: Shape | None = None) -> Section:
    """Record, play at the daemons' pace with questions, then as fast as the collector acks."""
    shape = shape or Shape()
    batches = record(shape.runs)
    digests = [f"blake3:{each.hex()}" for batch in batches for each in batch.digests.blake3 if each]
    with collector() as (instance, pid):
        fleet = Fleet(instance.address, batches, shape)
        print(f"{shape.daemons:,} daemons send for {shape.seconds:.0f} s", file=sys.stderr)
        cpu_before_s, asker = cpu_s(pid), Asker(instance.address, digests)
        paced = asyncio.run(fleet.run(paced=True, seconds=shape.seconds))
        answers_s, cpu_paced_s = asker.stop(), cpu_s(pid) - cpu_before_s
        resident = resident_bytes(pid)
        print("now all at once, as fast as acks come", file=sys.stderr)
        catching = asyncio.run(fleet.run(paced=False, seconds=shape.seconds / 2))
    per_batch = sum(map(row_count, batches)) / len(batches)
    real_time = shape.daemons * shape.rows_per_second
    rate = catching.rows / (shape.seconds / 2)
    return Section(
        "fleet",
        f"{shape.daemons:,} daemons and one collector",
        "ack p99 500 ms, collector 1 GB, answers p99 200 ms, catch-up 10 times real time",
        f"{len(batches)} batches of real runs, {per_batch:.0f} rows in the mean, recorded from a"
        f" real daemon; each of {shape.daemons:,} daemons sends {shape.rows_per_second:.0f} rows/s"
        f" in such batches for {shape.seconds:.0f} s, over {CHANNELS} connections, while"
        " somebody asks ten times a second how a content was made. Then all send as fast as"
        " acks come. The fleet runs on the same cores as the collector.",
        ("what", "figure"),
        (
            ("rows/s at the daemons' pace", f"{paced.rows / shape.seconds:,.0f}"),
            ("CPU of the collector meanwhile", f"{cpu_paced_s / shape.seconds:.0%} of a core"),
            ("ack, p50", f"{quantile(paced.waits_s, 0.5) * 1000:,.0f} ms"),
            ("ack, p99", f"{quantile(paced.waits_s, 0.99) * 1000:,.0f} ms"),
            ("`Find`, p50", f"{quantile(answers_s, 0.5) * 1000:,.0f} ms"),
            ("`Find`, p99", f"{quantile(answers_s, 0.99) * 1000:,.0f} ms"),
            ("resident memory of the collector", f"{resident / 1e6:,.0f} MB"),
            ("rows/s as fast as acks come", f"{rate:,.0f}"),
            ("of the daemons' pace", f"x {rate / real_time:.1f}"),
        ),
    )


def main() -> None:
    """Print the table for the sizes that are asked for."""
    from bench.report import to_markdown  # noqa: PLC0415 -- only as a program

    usual = Shape()
    parser = argparse.ArgumentParser(prog="bench.fleet", description=__doc__)
    parser.add_argument("--daemons", type=int, default=usual.daemons)
    parser.add_argument("--rate", type=float, default=usual.rows_per_second, metavar="ROWS/S")
    parser.add_argument("--seconds", type=float, default=usual.seconds, metavar="S")
    options = parser.parse_args()
    print(to_markdown(measure(Shape(options.daemons, options.rate, options.seconds))))


if __name__ == "__main__":
    main()
