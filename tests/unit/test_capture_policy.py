"""The capture loop: what it takes when, with a kernel side, a hasher and a spool made by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
from tests.unit.daemon_samples import (
    MS,
    NOW_NS,
    SECOND_NS,
    Daemon,
)
from tests.unit.handmade_kernel import READER, SUBJECT, HotRing, Kernel, Ring, Rings

from whence_proto.v1 import ingest_pb2
from whenced.batching import BatchBuilder, FlushPolicy, Outbox
from whenced.capture import CaptureLoop
from whenced.hash_client import HashClient
from whenced.hash_messages import HashReply, HashRequest, Reply, Request
from whenced.intake import boot_ns
from whenced.loader import Capture
from whenced.metrics import Metrics, Sources
from whenced.parts import Parts
from whenced.proof import Proof
from whenced.record import (
    USE,
    USE_KEY,
    Kind,
)
from whenced.rows import Row


@dataclass
class Hasher:
    """A hasher process that has room for so many requests."""

    fd: int
    room: int = 1_000
    sent: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def fileno(self) -> int:
        """Give what an answer would wake."""
        return self.fd

    def send(self, request: Request) -> bool:
        """Take a request if there is room."""
        if len(self.sent) >= self.room:
            return False
        self.sent.append(request)
        return True

    def receive(self) -> list[Reply]:
        """Give the answers."""
        replies, self.replies = self.replies, []
        return replies


@dataclass
class Sink:
    """A spool that takes everything."""

    batches: list[ingest_pb2.Batch] = field(default_factory=list)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether a batch would be taken."""
        return True

    def refuse(self, rows: int) -> None:
        """Take note of nothing."""

    def unwritten(self) -> list[tuple[int, bytes, int]]:
        """Give what is nowhere else."""
        return []

    def put(self, number: int, payload: bytes, rows: int) -> bool:
        """Take a batch."""
        self.batches.append(ingest_pb2.Batch.FromString(payload))
        return True

    def take_lost(self) -> dict[str, int]:
        """Say that none was lost."""
        return {}


class Bench:
    """A loop and everything around it."""

    def __init__(self, fds: list[int]) -> None:
        self.kernel = Kernel(Rings(HotRing(fds[0]), Ring(fds[0])))
        self.hasher = Hasher(fds[1])
        self.sink = Sink()
        self.daemon = Daemon()
        self.tidied: list[int] = []
        builder = BatchBuilder("host", "boot", "epoch")
        parts = Parts(
            cast(Capture, self.kernel), self.daemon.texts, self.daemon.observer,
            self.daemon.versions, cast(HashClient, self.hasher), builder,
            Outbox(builder, self.sink, NOW_NS), FlushPolicy(),
            Metrics(cast(Sources, None)), self.tidied.append,
            Proof(
                cast(Capture, self.kernel), self.daemon.processes, boot_ns(), whole_host=False
            ),
        )  # fmt: skip
        self.loop = CaptureLoop(parts)
        self.start_ns = boot_ns()

    def step(self, after_ns: int = 0) -> None:
        """Take one step of the loop, so long after its start."""
        self.loop.step(self.start_ns + after_ns)

    def patience_ns(self, after_ns: int = 0) -> int:
        """Return how long the loop would wait then."""
        return round(self.loop._patience_s(self.start_ns + after_ns) * SECOND_NS)

    def end_a_process(self) -> None:
        """Have a process run and end."""
        self.kernel.see(Kind.READ, b"/data/f")
        self.kernel.see(Kind.EXIT)


@pytest.fixture
def bench() -> Iterator[Bench]:
    fds = [os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)]
    yield Bench(fds)
    for fd in fds:
        os.close(fd)


def paths(batches: Iterable[ingest_pb2.Batch]) -> list[str]:
    """Return the paths of all accesses in some batches."""
    return [
        batch.strings[index - 1] for batch in batches for index in batch.accesses.path_text if index
    ]


def test_records_and_their_texts_leave_as_a_batch(bench: Bench) -> None:
    bench.kernel.see(Kind.READ, b"/data/a")
    bench.kernel.see(Kind.MAP, b"/data/b", file_inode=43)
    bench.loop.stop()
    bench.loop.run()

    assert sorted(paths(bench.sink.batches)) == ["/data/a", "/data/b"]


def test_what_came_after_the_stop_was_asked_for_is_not_left_behind(bench: Bench) -> None:
    bench.kernel.created = 1
    bench.loop.stop()
    bench.kernel.see(Kind.READ, b"/data/a")
    bench.loop.run()

    assert (paths(bench.sink.batches), bench.kernel.swaps) == (["/data/a"], 1)


def test_a_tap_sees_every_row(bench: Bench) -> None:
    tapped: list[Row] = []
    bench.loop.taps.append(tapped.extend)
    bench.kernel.see(Kind.READ, b"/data/a")
    bench.loop.stop()
    bench.loop.run()

    assert [type(row).__name__ for row in tapped] == ["StartRow", "AccessRow"]


def test_requests_wait_in_their_order_while_the_hasher_is_full(bench: Bench) -> None:
    bench.hasher.room = 2
    for inode in (1, 2, 3):
        bench.kernel.see(Kind.READ, b"/data/%d" % inode, file_inode=inode)
    bench.step()
    first = len(bench.hasher.sent)
    bench.hasher.room = 10
    bench.kernel.see(Kind.READ, b"/data/4", file_inode=4)
    bench.step()

    sent = [request.inode for request in bench.hasher.sent if isinstance(request, HashRequest)]

    assert (first, sent) == (2, [1, 2, 3, 4])


def test_answers_become_rows(bench: Bench) -> None:
    bench.kernel.see(Kind.READ, b"/data/a", size_bytes=1)
    bench.step()
    (request,) = bench.hasher.sent
    reply = HashReply(request.ticket, "verified", bytes(32), size_bytes=1, version=0)
    bench.hasher.replies.append(reply)
    bench.loop.stop()
    bench.loop.run()

    assert [list(batch.digests.blake3) for batch in bench.sink.batches] == [[bytes(32)]]


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "after_ns", "swaps"),
    [
        (0, 10 * SECOND_NS, 0),
        (1, 500 * MS, 0),
        (1, 1_100 * MS, 1),
        ((1 << 15) + 1, 0, 1),
    ],
)
def test_counts_are_taken_every_second_or_when_the_table_is_half_full(
    bench: Bench, created: int, after_ns: int, swaps: int
) -> None:
    bench.kernel.created = created
    bench.step(after_ns)

    assert bench.kernel.swaps == swaps


@pytest.mark.parametrize(("after_ns", "swaps"), [(100 * MS, 0), (200 * MS, 1)])
def test_counts_are_taken_soon_after_a_process_ended(
    bench: Bench, after_ns: int, swaps: int
) -> None:
    bench.end_a_process()
    bench.kernel.created = 1
    bench.step(after_ns)

    assert bench.kernel.swaps == swaps


def test_touches_are_taken_before_the_counts_that_belong_to_them(bench: Bench) -> None:
    keys, uses = np.zeros(1, dtype=USE_KEY), np.zeros(1, dtype=USE)
    for name, value in {**READER, **SUBJECT}.items():
        keys[name] = value
    uses["read_ops"], uses["read_bytes"] = 3, 300
    bench.kernel.uses, bench.kernel.created = (keys, uses), 1
    bench.kernel.see(Kind.READ, b"/data/a")
    bench.loop.stop()
    bench.loop.run()

    assert [list(batch.accesses.bytes) for batch in bench.sink.batches] == [[300]]


# --- patience ----------------------------------------------------------------------------------


def test_an_idle_loop_waits_a_second(bench: Bench) -> None:
    bench.step()

    assert bench.patience_ns() == SECOND_NS


@pytest.mark.parametrize("created", [0, 1])
@pytest.mark.parametrize("ended_ns", [0, 500 * MS])
def test_the_loop_is_idle_again_after_a_process_ended(
    bench: Bench, created: int, ended_ns: int
) -> None:
    """Also when there are no counts to be taken, as after a subshell."""
    bench.step()
    bench.end_a_process()
    bench.kernel.created = created
    for after_ns in (ended_ns, 700 * MS, 800 * MS, 1_400 * MS, 7 * SECOND_NS, 14 * SECOND_NS):
        bench.step(after_ns)

    assert bench.patience_ns(14 * SECOND_NS) == SECOND_NS


def test_a_job_that_is_due_ends_the_wait(bench: Bench) -> None:
    bench.kernel.see(Kind.WRITE, b"/out/a", version=1 << 32, at_ns=bench.start_ns)
    bench.step()

    assert bench.patience_ns() == 20 * MS


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_ns", "sent"), [(100 * MS, 0), (300 * MS, 1)])
def test_what_somebody_may_ask_for_leaves_soon(bench: Bench, after_ns: int, sent: int) -> None:
    bench.end_a_process()
    bench.step()
    bench.step(after_ns)

    assert len(bench.sink.batches) == sent


def test_the_rest_leaves_after_five_seconds(bench: Bench) -> None:
    bench.kernel.see(Kind.OPEN_WRITE, b"/data/a")
    sent = []
    for after_ns in (0, 4 * SECOND_NS, 6 * SECOND_NS):
        bench.step(after_ns)
        sent.append(len(bench.sink.batches))

    assert sent == [0, 0, 1]


def test_losses_leave_with_the_batch(bench: Bench) -> None:
    bench.kernel.see(Kind.READ, b"/data/a")
    bench.kernel.attempted["touch"] = (3, 1, 2)
    bench.loop.stop()
    bench.loop.run()

    losses = bench.sink.batches[0].losses
    told = list(zip(losses.attempted, losses.received, losses.lost, strict=True))

    assert told == [(3, 1, 2)]


def test_housekeeping_is_done_about_once_a_second(bench: Bench) -> None:
    for after_ns in (0, 500 * MS, 1_100 * MS, 1_200 * MS):
        bench.step(after_ns)

    assert bench.tidied == [bench.start_ns, bench.start_ns + 1_100 * MS]
