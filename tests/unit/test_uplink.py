"""The uplink against a real gRPC server: acks, restarts of either side, refusals, silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from whence_proto.v1 import ingest_pb2, ingest_pb2_grpc
from whenced.spool import Spool
from whenced.uplink import BACKOFF_FIRST_S, BACKOFF_LAST_S, Uplink, backoff_s, frame

OLD, NEW = "0" * 32, "f" * 32


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s, "nothing happened within 20 s"
        time.sleep(0.01)


@dataclass
class Ledger(ingest_pb2_grpc.IngestServicer):
    """A collector that keeps what it gets in lists; its fields say how it misbehaves."""

    committed: list[tuple[str, int]] = field(default_factory=list)
    received: list[tuple[str, int]] = field(default_factory=list)
    hellos: list[ingest_pb2.Hello] = field(default_factory=list)
    refused: frozenset[int] = frozenset()  # numbers that are malformed
    faulty: frozenset[int] = frozenset()  # numbers that show a fault of the collector
    break_after: int | None = None  # batches of a stream after which it breaks, unacked
    acks: bool = True

    def Deliver(  # noqa: N802 - the name is the wire's
        self,
        request_iterator: Iterator[ingest_pb2.FromDaemon],
        context: grpc.ServicerContext,
    ) -> Iterator[ingest_pb2.FromCollector]:
        """Answer one daemon."""
        self.hellos.append(next(request_iterator).hello)
        yield self._welcome()
        for seen, message in enumerate(request_iterator):
            key = (message.batch.epoch, message.batch.number)
            self.received.append(key)
            if seen == self.break_after:
                self.break_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "the collector goes away")
            if key[1] in self.refused:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"batch {key[1]} is malformed")
            if key[1] in self.faulty:
                context.abort(grpc.StatusCode.INTERNAL, f"batch {key[1]} could not be stored")
            if self.acks:
                self.committed.append(key)
                yield ingest_pb2.FromCollector(ack=ingest_pb2.Ack(epoch=key[0], number=key[1]))

    def _welcome(self) -> ingest_pb2.FromCollector:
        marks: dict[str, int] = {}
        for epoch, number in self.committed:
            marks[epoch] = max(number, marks.get(epoch, 0))
        return ingest_pb2.FromCollector(
            welcome=ingest_pb2.Welcome(
                collector_version="1.2",
                committed=[ingest_pb2.EpochMark(epoch=e, number=n) for e, n in marks.items()],
                boot_id="boot",
                pid=77,
                pid_namespace=88,
            )
        )


@contextmanager
def serving(ledger: Ledger, port: int = 0) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    ingest_pb2_grpc.add_IngestServicer_to_server(ledger, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path, NEW, linger_s=0.0)
    yield opened
    opened.close()


@contextmanager
def uplink(
    port: int,
    opened: Spool,
    on_welcome: Callable[[ingest_pb2.Welcome], None] = lambda _: None,
    silence_s: float = 60.0,
) -> Iterator[Uplink]:
    running = Uplink(
        f"127.0.0.1:{port}",
        lambda: ingest_pb2.Hello(host="host", wire_version=1),
        opened,
        on_welcome,
        silence_s=silence_s,
        fault_tries=3,
        jitter=lambda: 0.0,
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()


def put(opened: Spool, *numbers: int, epoch: str = NEW) -> None:
    for number in numbers:
        batch = ingest_pb2.Batch(epoch=epoch, number=number, strings=["x" * 200])
        assert opened.put(number, batch.SerializeToString(), 10)


def is_empty(opened: Spool) -> bool:
    return opened.stats().batches == 0


def free_port() -> int:
    with serving(Ledger()) as port:
        return port


@pytest.mark.parametrize("length", [0, 1, 127, 128, 20_000, 3_000_000])
def test_a_frame_is_what_protobuf_would_write(length: int) -> None:
    batch = ingest_pb2.Batch(strings=["x" * length])
    message = ingest_pb2.FromDaemon.FromString(frame(batch.SerializeToString()))

    assert message == ingest_pb2.FromDaemon(batch=batch)


def test_backoff_grows_from_first_to_last_and_jitter_only_shortens() -> None:
    pauses = [backoff_s(attempt, 1.0) for attempt in range(1000)]

    assert pauses[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF_LAST_S
    assert backoff_s(1000, 0.0) == BACKOFF_LAST_S / 2
    assert backoff_s(0, 0.0) == BACKOFF_FIRST_S


def test_batches_are_delivered_in_order_and_deleted(spool: Spool, tmp_path: Path) -> None:
    ledger = Ledger()
    welcomes: list[ingest_pb2.Welcome] = []
    with serving(ledger) as port, uplink(port, spool, welcomes.append) as running:
        put(spool, *range(1, 301))
        wait_until(lambda: is_empty(spool))
        state = running.state()
        put(spool, 301)
        wait_until(lambda: is_empty(spool))

    assert ledger.committed == [(NEW, number) for number in range(1, 302)]
    assert [hello.host for hello in ledger.hellos] == ["host"]
    assert [(welcome.pid, welcome.boot_id) for welcome in welcomes] == [(77, "boot")]
    assert (state.connected, state.collector_pid, state.collector_pid_namespace) == (True, 77, 88)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_the_window_is_sent_without_an_ack(spool: Spool) -> None:
    ledger = Ledger(acks=False)
    put(spool, *range(1, 101))
    with serving(ledger) as port, uplink(port, spool) as running:
        wait_until(lambda: len(ledger.received) == 64)
        time.sleep(0.2)

        assert running.state().unacked_batches == 64
        assert len(ledger.received) == 64
    assert spool.stats().batches == 100


def test_a_collector_that_comes_later_gets_everything(spool: Spool) -> None:
    port, ledger = free_port(), Ledger()
    put(spool, 1, 2)
    with uplink(port, spool) as running:
        wait_until(lambda: running.state().last_error is not None)
        put(spool, 3)
        with serving(ledger, port):
            wait_until(lambda: is_empty(spool))

    assert ledger.committed == [(NEW, 1), (NEW, 2), (NEW, 3)]


def test_a_collector_that_restarts_gets_the_rest(spool: Spool) -> None:
    port, ledger = free_port(), Ledger()
    with uplink(port, spool) as running:
        with serving(ledger, port):
            put(spool, 1, 2)
            wait_until(lambda: is_empty(spool))
        wait_until(lambda: not running.state().connected)
        put(spool, 3, 4)
        with serving(ledger, port):
            wait_until(lambda: is_empty(spool))

    assert ledger.committed == [(NEW, number) for number in (1, 2, 3, 4)]
    assert len(ledger.hellos) == 2


def test_a_stream_that_breaks_midway_is_taken_up_again(spool: Spool) -> None:
    ledger = Ledger(break_after=5)
    put(spool, *range(1, 21))
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: is_empty(spool))

    assert sorted(set(ledger.committed)) == [(NEW, number) for number in range(1, 21)]
    assert ledger.received.count((NEW, 6)) == 2


def test_an_older_epoch_is_delivered_first_after_a_restart(tmp_path: Path) -> None:
    before = Spool(tmp_path, OLD)
    put(before, 1, 2, epoch=OLD)
    before.close()
    spool, ledger = Spool(tmp_path, NEW), Ledger()
    put(spool, 1)
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: is_empty(spool))
    spool.close()

    assert ledger.committed == [(OLD, 1), (OLD, 2), (NEW, 1)]


def test_what_was_committed_but_never_acked_is_not_sent_again(tmp_path: Path) -> None:
    before = Spool(tmp_path, OLD)
    put(before, 1, 2, 3, epoch=OLD)
    before.close()
    spool, ledger = Spool(tmp_path, NEW), Ledger(committed=[(OLD, 1), (OLD, 2)])
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: is_empty(spool))
    spool.close()

    assert ledger.received == [(OLD, 3)]


def test_refused_batches_are_set_aside_and_the_others_arrive(spool: Spool, tmp_path: Path) -> None:
    ledger = Ledger(refused=frozenset({3, 7, 20}))
    put(spool, *range(1, 21))
    with serving(ledger) as port, uplink(port, spool) as running:
        wait_until(lambda: is_empty(spool))
        put(spool, *range(21, 25))
        wait_until(lambda: is_empty(spool))
        last_error = running.state().last_error

    good = [(NEW, number) for number in range(1, 25) if number not in ledger.refused]
    assert sorted(set(ledger.committed)) == good
    aside = sorted(path.name for path in (tmp_path / "damaged").iterdir())
    assert aside == [f"{NEW}-20.batch", f"{NEW}-3.batch", f"{NEW}-7.batch"]
    assert spool.take_lost() == {"the collector refused a batch": 30}
    assert last_error in {None, "batch 20 is malformed"}


def test_a_batch_that_always_trips_the_collector_does_not_hold_up_the_others(
    spool: Spool,
) -> None:
    ledger = Ledger(faulty=frozenset({2}))
    put(spool, *range(1, 5))
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: is_empty(spool))

    assert sorted(set(ledger.committed)) == [(NEW, 1), (NEW, 3), (NEW, 4)]
    assert ledger.received.count((NEW, 2)) >= 3
    assert spool.take_lost() == {"the collector refused a batch": 10}


def test_a_collector_that_recovers_from_a_fault_gets_the_batch(spool: Spool) -> None:
    ledger = Ledger(faulty=frozenset({1}))
    put(spool, 1)
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: len(ledger.received) == 2)
        ledger.faulty = frozenset()
        wait_until(lambda: is_empty(spool))

    assert ledger.committed == [(NEW, 1)]
    assert spool.take_lost() == {}


def test_a_damaged_file_does_not_stop_the_others(tmp_path: Path) -> None:
    before = Spool(tmp_path, OLD)
    put(before, 1, 2, 3, epoch=OLD)
    before.close()
    (tmp_path / f"{OLD}-2.batch").write_bytes(b"garbage")
    spool, ledger = Spool(tmp_path, NEW), Ledger()
    with serving(ledger) as port, uplink(port, spool):
        wait_until(lambda: is_empty(spool))
    spool.close()

    assert ledger.committed == [(OLD, 1), (OLD, 3)]


def test_a_silent_collector_is_left_and_asked_again(spool: Spool) -> None:
    ledger = Ledger(acks=False)
    put(spool, 1)
    with serving(ledger) as port, uplink(port, spool, silence_s=0.2):
        wait_until(lambda: len(ledger.hellos) == 2)
        ledger.acks = True
        wait_until(lambda: is_empty(spool))

    assert ledger.committed == [(NEW, 1)]


def test_stop_flushes_what_was_put_just_before(spool: Spool) -> None:
    ledger = Ledger()
    with serving(ledger) as port:
        with uplink(port, spool) as running:
            wait_until(lambda: running.state().connected)
            put(spool, *range(1, 51))

        assert is_empty(spool)


def test_stop_ends_all_threads_without_a_collector(spool: Spool) -> None:
    port = free_port()
    with uplink(port, spool) as running:
        put(spool, 1)
        wait_until(lambda: running.state().last_error is not None)
    names = [thread.name for thread in threading.enumerate()]

    assert "uplink" not in names
    assert spool.stats().batches == 1
