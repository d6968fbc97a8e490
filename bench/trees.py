"""Trees of ten million members: made known over gRPC, changed by one member, asked for members.

Batches of a daemon are delivered all the while, to see whether they have to wait. Only measures.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.ingest import Shape, batch, collector, cpu_seconds, send
from bench.report import Section, quantile
from blake3 import blake3

from whence import Client
from whence.ask_ancestry import find_tree, register_tree
from whence_collector import tree_store
from whence_collector.store import Store
from whence_proto.tree_digest import Member

MEMBERS = int(os.environ.get("WHENCE_BENCH_MEMBERS", "10000000"))
LOOK_UPS = 1_000
PAUSE_S = 0.25  # between two batches of 1,000 rows
CHANGED = 4_711


def measure() -> Section:
    """Measure on a collector of its own."""
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        with collector(folder) as (address, pid):
            rows = _idle(address) + _registered(address, pid)
        rows += _in_the_file(Path(folder) / "collector" / "whence.duckdb")
    return Section(
        "trees",
        f"a tree of {MEMBERS:,} members",
        "membership within 5 ms at p99; ingest not blocked; one changed member costs its bucket",
        "Members come in over gRPC, their names and digests made by the same machine meanwhile. A"
        f" batch of 1,000 rows is delivered every {PAUSE_S:.2f} s all the while. Members and"
        " contents are asked for at random, among them some that are in no tree."
        " `WHENCE_BENCH_MEMBERS=1000000` is a short form.",
        ("what", "figure"),
        tuple(rows),
    )


def members(changed: int = -1) -> Iterator[Member]:
    """Yield the members; the changed one has other bytes."""
    for number in range(MEMBERS):
        yield member(number, b"other" if number == changed else b"")


def member(number: int, salt: bytes = b"") -> Member:
    """Return one member."""
    digest = blake3(number.to_bytes(8, "little") + salt).digest()
    return Member(f"part-{number // 10_000:05}/{number:08}.jpg", digest, 20_000 + number % 977)


@dataclass(slots=True)
class Delivering:
    """A daemon that delivers a batch now and then, and how long it waits for the acks."""

    address: str
    waits_ms: list[float] = field(default_factory=list)
    number: int = 0

    def until(self, done: threading.Event) -> None:
        """Deliver until told to stop."""
        while not done.wait(PAUSE_S):
            self.number += 1
            made = batch(0, self.number, Shape(1, 1, 1000, 1))
            (wait_s,) = asyncio.run(send(self.address, 0, [made], 1))
            self.waits_ms.append(wait_s * 1000)


def _meanwhile(daemon: Delivering, work: threading.Thread) -> list[float]:
    """Deliver while a thread works; return the waits in ms."""
    done = threading.Event()
    delivering = threading.Thread(target=daemon.until, args=(done,))
    daemon.waits_ms = []
    delivering.start()
    work.start()
    work.join()
    done.set()
    delivering.join()
    return daemon.waits_ms


def _idle(address: str) -> list[tuple[str, str]]:
    waits = _meanwhile(Delivering(address), threading.Thread(target=time.sleep, args=(5,)))
    return [("ack of a batch while nothing else happens", _spread(waits))]


def _registered(address: str, pid: int) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    daemon = Delivering(address, number=1_000)
    with Client(address) as client:
        for what, changed in (("made known", -1), ("again, one member changed", CHANGED)):
            began, cpu = time.perf_counter(), cpu_seconds(pid)
            work = threading.Thread(target=register_tree, args=(client, members(changed)))
            waits = _meanwhile(daemon, work)
            took, used = time.perf_counter() - began, cpu_seconds(pid) - cpu
            rate = MEMBERS / took
            rows.append((what, f"{took:.0f} s, {rate:,.0f} members/s; collector CPU {used:.0f} s"))
            rows.append((f"{what}: ack of a batch meanwhile", _spread(waits)))
        rows.append(("most memory of the collector so far", _most_memory(pid)))
        rows += _asked(client)
    return rows


def _asked(client: Client) -> list[tuple[str, str]]:
    dice = random.Random(11)  # noqa: S311 -- no secrets
    times = []
    for _ in range(LOOK_UPS):
        number = dice.randrange(MEMBERS)
        digest = member(number).blake3.hex()
        began = time.perf_counter()
        found = client_finds(client, digest)
        times.append((time.perf_counter() - began) * 1000)
        if found != (1 if number == CHANGED else 2):
            raise SystemExit(f"member {number} was found in {found} trees")
    return [("which trees hold a content, asked over gRPC", _spread(times))]


def client_finds(client: Client, digest: str) -> int:
    """Return in how many trees a content is."""
    return len(find_tree(client, member=digest).matches)


def _in_the_file(database: Path) -> list[tuple[str, str]]:
    """Look up members in the file itself, and change one by its bucket alone."""
    store = Store(database)
    try:
        dice = random.Random(12)  # noqa: S311 -- no secrets
        with store.cursor() as reader:
            trees = tree_store.by_ids(reader, (1, 2))
            by_path, by_content, absent = [], [], []
            for _ in range(LOOK_UPS):
                wanted = member(dice.randrange(MEMBERS))
                began = time.perf_counter()
                tree_store.member_at(reader, 1, wanted.path)
                middle = time.perf_counter()
                tree_store.containing(reader, wanted.blake3)
                end = time.perf_counter()
                tree_store.containing(reader, blake3(wanted.blake3).digest())
                by_path.append((middle - began) * 1000)
                by_content.append((end - middle) * 1000)
                absent.append((time.perf_counter() - end) * 1000)
        change = {member(CHANGED).path: member(CHANGED, b"other")}
        began = time.perf_counter()
        made = store.write(
            lambda writer: tree_store.register_changed(writer, trees[1], change, "dataset", 1)
        ).result()
        changing_ms = (time.perf_counter() - began) * 1000
        if made.digest != trees[2].digest:
            raise SystemExit("a changed member made another tree than all members anew")
    finally:
        store.close()
    return [
        ("the member at a path of a tree", _spread(by_path)),
        ("trees that hold a content", _spread(by_content)),
        ("that a content is in no tree", _spread(absent)),
        ("one member changed, its bucket alone hashed anew", f"{changing_ms:.0f} ms"),
        ("the database file", f"{database.stat().st_size / 1e6:,.0f} MB"),
    ]


def _spread(times_ms: list[float]) -> str:
    return (
        f"p50 {quantile(times_ms, 0.5):.1f} ms, **p99 {quantile(times_ms, 0.99):.1f} ms**,"
        f" greatest {max(times_ms):.0f} ms"
    )


def _most_memory(pid: int) -> str:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return f"{int(line.split()[1]) / 1024:,.0f} MiB"
    return "unknown"
