"""kill -9 of what stands between a daemon's spool and the database, at random moments.

The spool and the uplink are the daemon's own; relay and collector are real processes. What was
handed to the spool is the ledger: at the end the database must hold each row of it once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.addresses import free_address
from tests.unit.collector_batches import BatchMaker
from tools.instance import COLLECTOR, Instance, running, start, stop

from whence_collector.database import rows_by_table
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2 as wire
from whenced.spool import Spool
from whenced.uplink import Uplink

EPOCH = "5" * 32
PATIENCE_S = 60.0
MOST_ROWS = 40  # of a batch


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was handed over, and what the database holds: batches, rows of accesses, distinct."""

    kills: int
    batches: int
    rows: int
    stored_batches: int
    stored_rows: int
    distinct_rows: int


@dataclass(slots=True)
class Relay:
    """The relay as a process."""

    socket: Path
    address: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it delivers to need not be there."""
        words = ["--address", self.address, "--listen", str(self.socket)]
        environment = {k: v for k, v in os.environ.items() if k != "WHENCE_ADDRESS"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whenced.relay_main", *words],
            env=environment,
            stderr=subprocess.DEVNULL,
        )

    def end(self, number: signal.Signals) -> None:
        """End it by a signal and wait."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()


def soak(place: Path, rounds: int, seed: int) -> Ledger:
    """Feed, kill, start again, ``rounds`` times; then wait for the rest and count."""
    dice = random.Random(seed)  # noqa: S311 -- repeatable
    instance = Instance(place / "data", free_address())
    (instance.data_dir / "run").mkdir(parents=True)
    relay = Relay(place / "uplink.sock", instance.address)
    start(instance, COLLECTOR)
    relay.start()
    try:
        with feeding(place, relay.socket) as feed:
            for _ in range(rounds):
                feed.batches(dice)
                time.sleep(dice.random() * 0.3)
                _kill_one(instance, relay, dice)
                feed.batches(dice)
            feed.wait_until_delivered()
    finally:
        relay.end(signal.SIGTERM)
        stop(instance, COLLECTOR)
    return count(instance, feed, rounds)


def _kill_one(instance: Instance, relay: Relay, dice: random.Random) -> None:
    if dice.random() < 0.5:
        relay.end(signal.SIGKILL)
        time.sleep(dice.random() * 0.1)
        relay.start()
        return
    collector = running(instance, COLLECTOR)
    assert collector is not None, "the collector ended by itself: see its log"
    os.kill(collector.pid, signal.SIGKILL)
    while running(instance, COLLECTOR) is not None:
        time.sleep(0.01)
    start(instance, COLLECTOR)


@dataclass(slots=True)
class Feed:
    """Hands batches to a spool, and keeps count."""

    spool: Spool
    number: int = 0
    rows: int = 0

    def batches(self, dice: random.Random) -> None:
        """Hand over a few batches of a few rows, each row of a file of its own."""
        for _ in range(dice.randrange(1, 6)):
            self.number += 1
            count = dice.randrange(1, MOST_ROWS)
            payload = self._batch(count).SerializeToString()
            assert self.spool.put(self.number, payload, count), "the spool was full"
            self.rows += count

    def wait_until_delivered(self) -> None:
        """Wait until everything is acked."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.spool.stats().batches:
            assert time.monotonic() < deadline_s, f"not delivered: {self.spool.stats()}"
            time.sleep(0.05)

    def _batch(self, count: int) -> wire.Batch:
        maker = BatchMaker(self.number, EPOCH)
        process = maker.process(100)
        for row in range(count):
            inode = self.number * MOST_ROWS + row
            maker.access(process, maker.file(inode), f"/data/{inode}")
        return maker.batch


@contextmanager
def feeding(place: Path, socket: Path) -> Iterator[Feed]:
    """Deliver a spool through the relay's socket, as the daemon does."""
    (place / "spool").mkdir()
    spool = Spool(place / "spool", EPOCH)
    hello: Callable[[], wire.Hello] = lambda: wire.Hello(host="h1", boot_id="boot-a")  # noqa: E731 -- one line
    uplink = Uplink(f"unix:{socket}", hello, spool)
    uplink.start()
    try:
        yield Feed(spool)
    finally:
        uplink.stop()
        spool.close()


def count(instance: Instance, feed: Feed, kills: int) -> Ledger:
    """Compare what was handed over with what a stopped collector's database holds."""
    database = instance.data_dir / "collector" / "whence.duckdb"
    store = Store(database)
    with store.cursor() as reader:
        ((batches,),) = reader.rows("SELECT number FROM batch_ledger")
        sql = "SELECT count(*), count(DISTINCT (process_id, version_id)) FROM access"
        ((rows, distinct),) = reader.rows(sql)
    store.close()
    rows_by_table(database)  # raises BackupUnusable where anything of it cannot be read
    return Ledger(kills, feed.number, feed.rows, int(batches), int(rows), int(distinct))
