"""The stream to the collector: batches up, acks down, for ever again after a failure.

Runs in a thread of its own beside gRPC's. May not hold batches (spool.py does) nor build them,
and never makes the capture loop wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import grpc

from whence_proto.v1 import ingest_pb2
from whenced.spool import Entry, Spool

log = logging.getLogger(__name__)

METHOD = "/whence.v1.Ingest/Deliver"
WINDOW_BATCHES = 64
# Keeps what gRPC and the collector buffer small when batches are large.
WINDOW_BYTES = 16 << 20
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 5.0
# A group commit takes at most seconds, even beside a checkpoint of the database.
SILENCE_S = 60.0
# Time at the end for the half-closed stream to finish; what is unacked then stays in the spool.
STOP_GRACE_S = 0.3

REPORTS_KEPT = 1_000

# A batch that alone draws a fault of the collector this often (half a minute with the back-off)
# would hold up all others for ever.
FAULT_TRIES = 10

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", 64 << 20),
    # A channel that reconnects by itself would keep a back-off of its own of up to 2 minutes.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy for web traffic has no business with lineage.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class UplinkState:
    """The stream at one moment; the collector's fields are those of the last Welcome."""

    connected: bool = False
    unacked_batches: int = 0
    collector_version: str | None = None
    collector_boot_id: str | None = None
    collector_pid: int | None = None
    collector_pid_namespace: int | None = None
    last_error: str | None = None


def backoff_s(attempt: int, jitter: float) -> float:
    """Pause before attempt 0, 1, 2, …; ``jitter`` in [0, 1) spreads daemons over half of it."""
    whole = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16))
    return max(BACKOFF_FIRST_S, whole * (0.5 + jitter / 2))


def frame(payload: bytes) -> bytes:
    """FromDaemon{batch: payload} without a parse: tag, length as varint, payload."""
    number = ingest_pb2.FromDaemon.DESCRIPTOR.fields_by_name["batch"].number
    head = bytearray([number << 3 | 2])
    rest = len(payload)
    while rest > 0x7F:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + payload


@dataclass(slots=True)
class _Stream:
    """One stream: what was sent on it and is not acked. Guarded by the spool's condition."""

    heard_s: float
    window_batches: int
    welcomed: bool = False
    acked_any: bool = False
    over: bool = False
    cursor: int = -1
    in_flight: deque[Entry] = field(default_factory=deque)
    in_flight_bytes: int = 0

    def has_room(self) -> bool:
        if not self.in_flight:
            return True
        return len(self.in_flight) < self.window_batches and self.in_flight_bytes < WINDOW_BYTES

    def sent(self, entry: Entry) -> None:
        self.cursor = entry.position
        self.in_flight.append(entry)
        self.in_flight_bytes += entry.size_bytes

    def settled(self, done: Callable[[Entry], bool]) -> None:
        """Forget what is done."""
        self.in_flight = deque(entry for entry in self.in_flight if not done(entry))
        self.in_flight_bytes = sum(entry.size_bytes for entry in self.in_flight)


class Uplink:
    """Delivers a spool to the collector at ``address`` (host:port).

    ``hello`` is asked at each connection. ``on_welcome`` is called in the uplink's thread with
    each Welcome, so that the daemon can leave the collector out of what it records. ``jitter``
    gives numbers in [0, 1).
    """

    def __init__(
        self,
        address: str,
        hello: Callable[[], ingest_pb2.Hello],
        spool: Spool,
        on_welcome: Callable[[ingest_pb2.Welcome], None] = lambda _: None,
        *,
        silence_s: float = SILENCE_S,
        fault_tries: int = FAULT_TRIES,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._address, self._hello, self._spool = address, hello, spool
        self._on_welcome, self._silence_s, self._jitter = on_welcome, silence_s, jitter
        # Called in the uplink's thread with each order; set before start().
        self.on_order: Callable[[ingest_pb2.EndOrder], None] = lambda _: None
        # Told beside batches; a report that is lost is asked for again with its order.
        self._reports: deque[ingest_pb2.EndReport] = deque(maxlen=REPORTS_KEPT)
        self._state = UplinkState()
        self._stream = _Stream(0.0, WINDOW_BATCHES, over=True)
        self._call: grpc.Call | None = None
        # How often a batch that is alone in flight may draw a status before it is set aside.
        self._tries = {
            grpc.StatusCode.INVALID_ARGUMENT: 1,
            grpc.StatusCode.INTERNAL: fault_tries,
            grpc.StatusCode.UNKNOWN: fault_tries,
        }
        # Until this position batches are sent one by one: one of them is refused, and only then
        # can we tell which.
        self._careful_until = -1
        self._suspect: tuple[int, int] = (-1, 0)  # position, refusals
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Give the collector a chance to ack what waits, then end the stream."""
        deadline_s = time.monotonic() + timeout_s
        with self._spool.changed:
            self._spool.changed.wait_for(
                lambda: self._stream.over or self._spool.next_entry(-1) is None,
                max(0.0, timeout_s - STOP_GRACE_S),
            )
            self._stopping.set()
            self._stream.over = True
            self._spool.changed.notify_all()
        self._thread.join(max(0.0, min(STOP_GRACE_S, deadline_s - time.monotonic())))
        if self._call is not None:
            self._call.cancel()
        self._thread.join(max(0.0, deadline_s - time.monotonic()))

    def state(self) -> UplinkState:
        """State now."""
        with self._spool.changed:
            return replace(self._state, unacked_batches=len(self._stream.in_flight))

    def report(self, report: ingest_pb2.EndReport) -> None:
        """Tell the collector how far an order is; any thread may call it, returns at once."""
        with self._spool.changed:
            self._reports.append(report)
            self._spool.changed.notify_all()

    # The uplink's thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._converse()
            pause_s = backoff_s(self._failures, self._jitter())
            self._failures += 1
            self._stopping.wait(pause_s)

    def _converse(self) -> None:
        """One stream, from its Hello to its end."""
        stream = self._open_stream()
        with grpc.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            deliver: grpc.StreamStreamMultiCallable[bytes, ingest_pb2.FromCollector]
            deliver = channel.stream_stream(
                METHOD,
                request_serializer=None,  # frames are bytes already
                response_deserializer=ingest_pb2.FromCollector.FromString,
            )
            call = self._call = deliver(self._frames(stream))
            try:
                for reply in call:
                    self._heard(stream, reply)
                self._ended(stream, "the collector ended the stream")
            except grpc.RpcError as error:
                self._failed(stream, error)
            finally:
                self._close_stream(stream)

    def _open_stream(self) -> _Stream:
        with self._spool.changed:
            window = 1 if self._careful_until >= 0 else WINDOW_BATCHES
            self._stream = _Stream(time.monotonic(), window, over=self._stopping.is_set())
            return self._stream

    def _close_stream(self, stream: _Stream) -> None:
        with self._spool.changed:
            stream.over = True
            stream.settled(lambda _: True)
            self._state = replace(self._state, connected=False)
            self._spool.changed.notify_all()

    # What goes up; runs in a thread of gRPC's, which must not see an exception.

    def _frames(self, stream: _Stream) -> Iterator[bytes]:
        yield ingest_pb2.FromDaemon(hello=self._hello()).SerializeToString()
        while (entry := self._next_to_send(stream)) is not None:
            if isinstance(entry, ingest_pb2.EndReport):
                yield ingest_pb2.FromDaemon(end_report=entry).SerializeToString()
                continue
            payload = self._spool.read(entry)
            if payload is not None:
                yield frame(payload)
                continue
            with self._spool.changed:
                stream.settled({entry}.__contains__)

    def _next_to_send(self, stream: _Stream) -> Entry | ingest_pb2.EndReport | None:
        """Next report or batch, as soon as there is room for it; None when the stream is over."""
        with self._spool.changed:
            while not stream.over:
                if stream.welcomed and self._reports:
                    return self._reports.popleft()
                if stream.welcomed and stream.has_room():
                    entry = self._spool.next_entry(stream.cursor)
                    if entry is not None:
                        self._widen(stream, entry)
                        stream.sent(entry)
                        return entry
                self._check_silence(stream)
                self._spool.changed.wait(1.0)
        return None

    def _widen(self, stream: _Stream, entry: Entry) -> None:
        if entry.position > self._careful_until >= 0:
            self._careful_until = -1
            stream.window_batches = WINDOW_BATCHES

    def _check_silence(self, stream: _Stream) -> None:
        awaited = stream.in_flight or not stream.welcomed
        if not awaited or time.monotonic() - stream.heard_s < self._silence_s:
            return
        log.warning("the collector at %s was silent for %.0f s", self._address, self._silence_s)
        stream.over = True
        if self._call is not None:
            self._call.cancel()

    # What comes down.

    def _heard(self, stream: _Stream, reply: ingest_pb2.FromCollector) -> None:
        if reply.HasField("welcome"):
            self._welcomed(stream, reply.welcome)
        elif reply.HasField("ack"):
            self._acked(stream, reply.ack.epoch, reply.ack.number)
        elif reply.HasField("end_order"):
            self.on_order(reply.end_order)

    def _welcomed(self, stream: _Stream, welcome: ingest_pb2.Welcome) -> None:
        for mark in welcome.committed:
            self._spool.acked(mark.epoch, mark.number)
        self._on_welcome(welcome)
        log.info("connected to the collector %s at %s", welcome.collector_version, self._address)
        with self._spool.changed:
            stream.welcomed, stream.heard_s = True, time.monotonic()
            self._state = UplinkState(
                connected=True,
                collector_version=welcome.collector_version,
                collector_boot_id=welcome.boot_id,
                collector_pid=welcome.pid,
                collector_pid_namespace=welcome.pid_namespace,
            )
            self._spool.changed.notify_all()

    def _acked(self, stream: _Stream, epoch: str, number: int) -> None:
        self._failures = 0
        with self._spool.changed:
            stream.heard_s = time.monotonic()
            stream.settled(lambda sent: sent.epoch == epoch and sent.number <= number)
        self._spool.acked(epoch, number)

    # How it ends.

    def _failed(self, stream: _Stream, error: grpc.RpcError) -> None:
        code = error.code()
        sentence = error.details() or str(code)
        with self._spool.changed:
            in_flight = list(stream.in_flight)
        if in_flight and code in self._tries:
            self._refused(in_flight, sentence, self._tries[code])
        self._ended(stream, sentence)

    def _refused(self, in_flight: list[Entry], sentence: str, tries: int) -> None:
        """One of the batches in flight is at fault: find out which, then set it aside."""
        self._careful_until = in_flight[-1].position
        if len(in_flight) > 1:
            return
        position, refusals = self._suspect
        refusals = refusals + 1 if position == in_flight[0].position else 1
        self._suspect = (in_flight[0].position, refusals)
        if refusals >= tries:
            self._failures = 0
            self._spool.set_aside(in_flight[0], "the collector refused a batch", sentence)

    def _ended(self, stream: _Stream, sentence: str) -> None:
        if self._stopping.is_set():
            return
        with self._spool.changed:
            # At every attempt the same sentence: once is enough.
            known = self._state.last_error == sentence and not stream.welcomed
            self._state = replace(self._state, last_error=sentence)
        if not known:
            log.warning("no stream to the collector at %s: %s", self._address, sentence)
