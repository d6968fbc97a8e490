"""The relay between a real daemon's uplink and a real gRPC server: nothing changed on the way."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.unit.test_uplink import NEW, Ledger, serving, wait_until

from whence_proto.v1 import ingest_pb2
from whenced.relay import Relay
from whenced.relay_config import RelaySettings, Tls
from whenced.spool import Spool
from whenced.uplink import Uplink


@contextmanager
def relaying(settings: RelaySettings) -> Iterator[Relay]:
    """Run a relay in a thread of its own, as whence-uplink runs it in a process."""
    relay, ready, stop = Relay(settings), threading.Event(), []

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        await relay.serve(stopping, ready.set)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20.0)
        yield relay
    finally:
        stop[0]()
        thread.join()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    (tmp_path / "spool").mkdir()
    opened = Spool(tmp_path / "spool", NEW, linger_s=0.0)
    yield opened
    opened.close()


@contextmanager
def delivering(socket: Path, opened: Spool) -> Iterator[Uplink]:
    def hello() -> ingest_pb2.Hello:
        return ingest_pb2.Hello(host="host", boot_id="boot", wire_version=1)

    running = Uplink(f"unix:{socket}", hello, opened, jitter=lambda: 0.0)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def put(opened: Spool, numbers: range) -> None:
    for number in numbers:
        batch = ingest_pb2.Batch(host="host", boot_id="boot", epoch=NEW, number=number)
        opened.put(number, batch.SerializeToString(), 1)


def test_batches_go_up_and_acks_come_down(tmp_path: Path, spool: Spool) -> None:
    ledger, socket = Ledger(), tmp_path / "uplink.sock"
    with serving(ledger) as port:
        settings = RelaySettings(f"127.0.0.1:{port}", listen=socket)
        with relaying(settings) as relay, delivering(socket, spool) as uplink:
            put(spool, range(1, 101))
            wait_until(lambda: spool.stats().batches == 0)
            state = uplink.state()

    assert ledger.committed == [(NEW, number) for number in range(1, 101)]
    assert (state.connected, state.collector_pid) == (True, 77)
    assert relay.traffic.bytes_up > 100 * len(NEW)


def test_a_refusal_reaches_the_daemon_in_the_collectors_words(tmp_path: Path, spool: Spool) -> None:
    ledger, socket = Ledger(refused=frozenset({2})), tmp_path / "uplink.sock"
    with serving(ledger) as port:
        settings = RelaySettings(f"127.0.0.1:{port}", listen=socket)
        with relaying(settings), delivering(socket, spool):
            put(spool, range(1, 4))
            wait_until(lambda: spool.stats().batches == 0)

    assert [number for _, number in ledger.committed] == [1, 3]
    assert spool.take_lost() == {"the collector refused a batch": 1}


def test_what_waits_is_delivered_when_the_collector_comes(tmp_path: Path, spool: Spool) -> None:
    with serving(Ledger()) as port:
        pass
    socket, ledger = tmp_path / "uplink.sock", Ledger()
    with (
        relaying(RelaySettings(f"127.0.0.1:{port}", listen=socket)),
        delivering(socket, spool) as uplink,
    ):
        put(spool, range(1, 3))
        wait_until(lambda: uplink.state().last_error is not None)
        with serving(ledger, port):
            wait_until(lambda: spool.stats().batches == 0)

    assert [number for _, number in ledger.committed] == [1, 2]


def test_only_owner_and_group_may_deliver(tmp_path: Path) -> None:
    settings = RelaySettings(listen=tmp_path / "uplink.sock")
    with relaying(settings):
        mode = stat.S_IMODE(settings.listen.stat().st_mode)

    assert mode == 0o660


def test_a_missing_certificate_is_named_to_the_daemon(tmp_path: Path, spool: Spool) -> None:
    socket = tmp_path / "uplink.sock"
    tls = Tls(tmp_path / "ca.pem", tmp_path / "host.pem", tmp_path / "host.key")
    with (
        relaying(RelaySettings(listen=socket, tls=tls)),
        delivering(socket, spool) as uplink,
    ):
        wait_until(lambda: uplink.state().last_error is not None)
        said = uplink.state().last_error

    assert said == f"{tmp_path / 'ca.pem'}: No such file or directory: enrol this host again"


def test_frames_of_a_stranger_are_not_understood(tmp_path: Path) -> None:
    """The relay passes one method on and answers nothing else."""
    socket = tmp_path / "uplink.sock"
    with (
        relaying(RelaySettings(listen=socket)),
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        ask: Callable[..., bytes] = channel.unary_unary("/whence.v1.Query/Status")
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=20.0)

    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
