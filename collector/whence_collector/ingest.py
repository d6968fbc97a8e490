"""Ingest.Deliver: Hello and Welcome, batches to group commits, an ack after each commit.

Knows neither SQL nor rows: recorder.py stores, store.py commits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from whence_collector.allowance import Allowance
from whence_collector.check import BASE_LIMIT_NS, Checked, check
from whence_collector.errors import (
    BatchNotStored,
    CollectorError,
    InvalidBatch,
    InvalidStream,
    StorageUnavailable,
    WireTooNew,
)
from whence_collector.metrics import Metrics
from whence_collector.order_desk import OrderDesk
from whence_collector.presence import Presence
from whence_collector.recorder import Recorded, Recorder, Registration, Submission
from whence_collector.store import Store
from whence_collector.tls import check_host, enrolled_host
from whence_collector.turns import Room, Turns
from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import ingest_pb2_grpc

LOG = logging.getLogger("whence.ingest")

WIRE_VERSION = 1
GROUP_ROWS = 60_000  # of one commit at most; its fixed cost is about that of 5,000 rows
# Sixteen batches of a thousand rows keep a lone daemon busy over a commit; what all hosts have
# waiting beyond their first is bounded too, for batches are memory.
ROOM = Room(of_host=16, of_all=96)
GREETINGS = 200  # of one transaction
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # then 5 s for as long as storage fails


# Told of each daemon: its Hello, its address as gRPC writes it, whether it is proven to be one.
Greeted = Callable[[wire.Hello, str, bool], None]


def ignore(_hello: wire.Hello, _peer: str, _proven: bool) -> None:
    """Nobody asks to be told of daemons."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the collector says of itself in Welcome."""

    version: str
    boot_id: str
    pid: int
    pid_namespace: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch in the queue; done resolves when it is committed."""

    submission: Submission
    done: asyncio.Future[None]

    @property
    def rows(self) -> int:
        """How many rows it brings."""
        return self.submission.checked.rows


@dataclass(frozen=True, slots=True)
class Greeting:
    """A Hello in the queue; done resolves when it is committed."""

    hello: wire.Hello
    done: asyncio.Future[Registration]


class Committer:
    """Takes batches of all streams and commits them in groups, one transaction at a time.

    A batch that comes while nothing is in hand is committed at once; those that come during a
    commit make up the next group, up to GROUP_ROWS rows, hosts in turn. So grouping grows with
    the load and needs no timer. Hellos go the same way: a thousand daemons that come back at
    once are a few transactions.
    """

    def __init__(
        self, store: Store, recorder: Recorder, metrics: Metrics, rows_per_second: int = 0
    ) -> None:
        self._store = store
        self._rows_per_second = rows_per_second
        self._recorder = recorder
        self._metrics = metrics
        self._queue: Turns[Waiting] = Turns(ROOM)
        self._greetings: list[Greeting] = []
        self._came = asyncio.Event()

    def allowance(self) -> Allowance:
        """Return what a stream that begins now may deliver."""
        return Allowance(self._rows_per_second)

    async def register(self, hello: wire.Hello) -> Registration:
        """Keep a Hello; raises StorageUnavailable."""
        done: asyncio.Future[Registration] = asyncio.get_running_loop().create_future()
        self._greetings.append(Greeting(hello, done))
        self._came.set()
        return await done

    async def submit(self, submission: Submission) -> asyncio.Future[None]:
        """Queue a checked batch, waiting while there is no room for more of its host."""
        done = asyncio.get_running_loop().create_future()
        await self._queue.put(submission.sender_host_id, Waiting(submission, done))
        self._came.set()
        return done

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._greetings or len(self._queue):
                if self._greetings:
                    await self._register()
                if len(self._queue):
                    await self._commit(self._queue.take(GROUP_ROWS))

    async def _register(self) -> None:
        """Keep the Hellos that came; where they fail together, each alone."""
        greetings, self._greetings = self._greetings[:GREETINGS], self._greetings[GREETINGS:]
        if await self._register_all(greetings) is None or len(greetings) == 1:
            return
        for each in greetings:
            await self._register_all([each])

    async def _register_all(self, greetings: list[Greeting]) -> BaseException | None:
        hellos = [each.hello for each in greetings]
        writing = asyncio.wrap_future(
            self._store.write(lambda writer: self._recorder.register(hellos, writer))
        )
        await asyncio.wait([writing])
        error = writing.exception()
        if error is None:
            self._recorder.committed()
            for each, registration in zip(greetings, writing.result(), strict=True):
                if not each.done.done():
                    each.done.set_result(registration)
        elif len(greetings) == 1 and not greetings[0].done.done():
            greetings[0].done.set_exception(error)
        return error

    async def _commit(self, group: list[Waiting]) -> None:
        """Store a group, retrying while storage fails; one bad batch does not fail the others."""
        error = await self._store_group(group)
        if error is None:
            for waiting in group:
                _settle(waiting.done, None)
        elif len(group) > 1:
            for waiting in group:
                await self._commit([waiting])
        else:
            batch = group[0].submission.checked.message
            LOG.error(
                "batch not stored epoch=%s number=%d", batch.epoch, batch.number, exc_info=error
            )
            self._metrics.batches.labels("failed").inc()
            sentence = (
                f"batch {batch.number} of epoch {batch.epoch} could not be stored; "
                "the collector's log holds the fault"
            )
            _settle(group[0].done, BatchNotStored(sentence))

    async def _store_group(self, group: list[Waiting]) -> BaseException | None:
        failures = 0
        while True:
            began = time.perf_counter()
            error = await self._attempt([waiting.submission for waiting in group])
            if not isinstance(error, StorageUnavailable):
                self._note_storage(None)
                self._metrics.commit_seconds.observe(time.perf_counter() - began)
                return error
            self._note_storage(str(error))
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    async def _attempt(self, submissions: list[Submission]) -> BaseException | None:
        writing = asyncio.wrap_future(
            self._store.write(lambda writer: self._recorder.record(submissions, writer))
        )
        await asyncio.wait([writing])
        error = writing.exception()
        if error is None:
            self._recorder.committed()
            self._count(writing.result())
        return error

    def _note_storage(self, sentence: str | None) -> None:
        if sentence and not self._store.storage_error:
            LOG.error("storage failing: %s", sentence)
        if self._store.storage_error and not sentence:
            LOG.info("storage works again")
        self._store.storage_error = sentence
        self._metrics.storage_failing.set(1 if sentence else 0)

    def _count(self, recorded: Recorded) -> None:
        self._metrics.rows.inc(recorded.rows)
        self._metrics.batches.labels("stored").inc(recorded.batches)
        self._metrics.batches.labels("duplicate").inc(recorded.duplicates)
        for record_class, lost in recorded.lost.items():
            self._metrics.lost.labels(record_class).inc(lost)


class IngestService(ingest_pb2_grpc.IngestServicer):
    """The servicer of Ingest; errors.py names what it raises, status.py what becomes of it."""

    def __init__(
        self,
        committer: Committer,
        presence: Presence,
        metrics: Metrics,
        identity: Identity,
        *,
        only_enrolled: bool = False,
        greeted: Greeted | None = None,
        orders: OrderDesk | None = None,
    ) -> None:
        self._committer = committer
        self._presence = presence
        self._metrics = metrics
        self._identity = identity
        self._only_enrolled = only_enrolled
        self._greeted = greeted or ignore
        self._orders = orders or OrderDesk()

    async def Deliver(  # noqa: N802 -- named by the service
        self, request_iterator: AsyncIterator[wire.FromDaemon], context: Any
    ) -> AsyncIterator[wire.FromCollector]:
        """Answer one daemon's stream."""
        hello = await self._hello(request_iterator)
        check_host(context.auth_context(), context.peer(), hello.host, demanded=self._only_enrolled)
        registration = await self._committer.register(hello)
        peer = context.peer()
        # A certificate, or the permissions of a socket, say that it is that host's daemon.
        proven = peer.startswith("unix:") or enrolled_host(context.auth_context()) is not None
        self._greeted(hello, peer, proven)
        yield self._welcome(registration)
        LOG.info("daemon connected host=%s version=%s", hello.host, hello.daemon_version)
        delivery = _Delivery(
            self._committer, self._metrics, registration.host_id, self._committer.allowance()
        )
        with (
            self._presence.stream(registration.host_id),
            self._orders.stream(hello, delivery.put, proven=proven) as hear,
        ):
            delivery.hear = hear
            reading = asyncio.create_task(delivery.read(request_iterator))
            try:
                async for ack in delivery.acks():
                    yield ack
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                LOG.info("daemon left host=%s", hello.host)

    async def _hello(self, messages: AsyncIterator[wire.FromDaemon]) -> wire.Hello:
        async for message in messages:
            if message.WhichOneof("message") != "hello":
                break
            hello = message.hello
            if hello.wire_version > WIRE_VERSION:
                raise WireTooNew(
                    f"daemon on {hello.host} speaks wire {hello.wire_version} and this collector "
                    f"up to {WIRE_VERSION}; update the collector first"
                )
            if not (hello.host and hello.boot_id):
                raise InvalidStream("Hello lacks host or boot_id; a daemon must name both")
            if max(hello.capture_started_ns, abs(hello.wall_offset_ns)) >= 2 * BASE_LIMIT_NS:
                raise InvalidStream("Hello's times are none of a boot clock and of a wall clock")
            return hello
        raise InvalidStream("the stream does not begin with Hello; a daemon must say it first")

    def _welcome(self, registration: Registration) -> wire.FromCollector:
        marks = [wire.EpochMark(epoch=epoch, number=at) for epoch, at in registration.marks]
        return wire.FromCollector(
            welcome=wire.Welcome(
                collector_version=self._identity.version,
                committed=marks,
                boot_id=self._identity.boot_id,
                pid=self._identity.pid,
                pid_namespace=self._identity.pid_namespace,
            )
        )


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch of this stream on its way to the disk."""

    epoch: str
    number: int
    done: asyncio.Future[None]


class _Delivery:
    """One stream's batches: read() queues them, acks() yields what is committed, in order."""

    def __init__(
        self, committer: Committer, metrics: Metrics, host_id: int, allowance: Allowance
    ) -> None:
        self._committer = committer
        self._metrics = metrics
        self._host_id = host_id
        self._allowance = allowance
        self._pending: asyncio.Queue[_Pending | CollectorError | wire.FromCollector | None] = (
            asyncio.Queue()
        )
        # What became of orders; set before anything is read.
        self.hear: Callable[[wire.EndReport], None] = lambda _report: None

    def put(self, message: wire.FromCollector) -> None:
        """Send a message behind the acks that wait; on the loop of the stream."""
        self._pending.put_nowait(message)

    async def read(self, messages: AsyncIterator[wire.FromDaemon]) -> None:
        """Check and queue batches to the end of the stream or the first that breaks a rule."""
        try:
            async for message in messages:
                if message.HasField("end_report"):
                    self.hear(message.end_report)
                    continue
                checked = _checked(message)
                batch = checked.message
                done = await self._committer.submit(Submission(checked, self._host_id))
                self._pending.put_nowait(_Pending(batch.epoch, batch.number, done))
                await self._pause(checked.rows)
        except (InvalidBatch, InvalidStream) as error:
            self._metrics.batches.labels("invalid").inc()
            LOG.warning("batch refused: %s", error)
            self._pending.put_nowait(error)
        finally:
            self._pending.put_nowait(None)

    async def _pause(self, rows: int) -> None:
        """Leave what is too much unread: the daemon keeps it, and nothing is lost."""
        pause_s = self._allowance.pause_s(rows, time.monotonic())
        if pause_s:
            self._metrics.throttled_seconds.inc(pause_s)
            await asyncio.sleep(pause_s)

    async def acks(self) -> AsyncIterator[wire.FromCollector]:
        """Yield one ack per commit; what came before a refused batch is acked first.

        Raises what was wrong with the stream or the batch.
        """
        while (item := await self._pending.get()) is not None:
            if isinstance(item, CollectorError):
                raise item
            if isinstance(item, wire.FromCollector):
                yield item
                continue
            await item.done
            yield wire.FromCollector(ack=wire.Ack(epoch=item.epoch, number=item.number))


def _checked(message: wire.FromDaemon) -> Checked:
    if message.WhichOneof("message") != "batch":
        raise InvalidStream("the stream holds something other than a batch after Hello; send none")
    return check(message.batch)


def _settle(done: asyncio.Future[None], error: CollectorError | None) -> None:
    """Tell the stream, unless it has gone meanwhile."""
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
        done.exception()  # a stream that has gone will not fetch it; that is no fault
