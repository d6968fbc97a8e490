"""Who may deliver: a real collector with its own authority, and a relay that was enrolled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import pytest
from tests.addresses import free_address
from tests.unit.collector_bench import Bench, hello
from tests.unit.test_relay import delivering, put, relaying
from tests.unit.test_uplink import NEW, wait_until

from whence.channel import open_channel
from whence_collector.authority import Authority, Pair
from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import ingest_pb2_grpc, query_pb2, query_pb2_grpc
from whenced import relay as relay_module
from whenced.relay_config import RelaySettings, Tls
from whenced.spool import Spool

REFUSED = "PERMISSION_DENIED"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, ingest_address=free_address(), query_address=free_address())


def enrolled(bench: Bench, host: str) -> Pair:
    return Authority(bench.data_dir / "collector" / "tls").enroll(host, bench.data_dir / host)


def credentials(bench: Bench, pair: Pair | None) -> grpc.ChannelCredentials:
    ca = (bench.data_dir / "collector" / "tls" / "ca.pem").read_bytes()
    if pair is None:
        return grpc.ssl_channel_credentials(ca)
    return grpc.ssl_channel_credentials(ca, pair.key.read_bytes(), pair.certificate.read_bytes())


async def greeted(address: str, identity: grpc.ChannelCredentials | None, host: str) -> str:
    """Say Hello as a host; return "welcome", or the status of the refusal."""

    async def say() -> AsyncIterator[wire.FromDaemon]:
        yield hello(host=host)

    channel = (
        grpc.aio.insecure_channel(address)
        if identity is None
        else grpc.aio.secure_channel(address, identity)
    )
    async with channel:
        stub = cast("ingest_pb2_grpc.IngestAsyncStub", ingest_pb2_grpc.IngestStub(channel))
        try:
            async for reply in stub.Deliver(say()):
                return str(reply.WhichOneof("message"))
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return "silence"


def test_a_host_delivers_with_its_own_certificate_and_in_no_other_name(bench: Bench) -> None:
    async def talk(running: Bench) -> list[str]:
        identity = credentials(bench, enrolled(bench, "gpu-07"))
        address = running.settings["ingest_address"]
        return [await greeted(address, identity, host) for host in ("gpu-07", "gpu-08")]

    assert bench.run(talk) == ["welcome", REFUSED]


def test_without_a_certificate_nobody_delivers(bench: Bench) -> None:
    async def talk(running: Bench) -> list[str]:
        return [
            await greeted(running.settings["ingest_address"], credentials(bench, None), "h"),
            await greeted(running.settings["query_address"], credentials(bench, None), "h"),
            await greeted(running.address, None, "h"),
        ]

    assert bench.run(talk) == ["UNAVAILABLE", REFUSED, REFUSED]


def test_a_certificate_of_another_authority_is_worth_nothing(bench: Bench, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign").enroll("gpu-07", tmp_path / "theirs")

    async def talk(running: Bench) -> str:
        address = running.settings["ingest_address"]
        return await greeted(address, credentials(bench, foreign), "gpu-07")

    assert bench.run(talk) == "UNAVAILABLE"


def test_people_ask_over_tls_with_the_authoritys_certificate(bench: Bench) -> None:
    def ask(address: str, authority: Path) -> int:
        with open_channel(address, {"WHENCE_CA": str(authority)}) as channel:
            stub = query_pb2_grpc.QueryStub(channel)
            return stub.Status(query_pb2.StatusRequest(), timeout=20.0).schema_version

    async def talk(running: Bench) -> int:
        authority = bench.data_dir / "collector" / "tls" / "ca.pem"
        return await asyncio.to_thread(ask, running.settings["query_address"], authority)

    assert bench.run(talk) > 0


def test_the_hosts_own_uplink_delivers_through_a_socket(tmp_path: Path) -> None:
    socket = tmp_path / "ingest.sock"
    bench = Bench(tmp_path, ingest_socket=socket)

    async def talk(running: Bench) -> list[str]:
        return [
            await greeted(f"unix:{socket}", None, "h"),
            await greeted(running.address, None, "h"),
        ]

    assert bench.run(talk) == ["welcome", REFUSED]


def test_new_certificates_are_in_use_without_a_restart(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the host: the relay opens its stream again. Nothing that waits is lost."""
    monkeypatch.setattr(relay_module, "WATCH_S", 0.05)
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path / "spool", NEW, linger_s=0.0)
    pair = enrolled(bench, "host")
    files = Tls(pair.certificate.with_name("ca.pem"), pair.certificate, pair.key, "localhost")
    socket = tmp_path / "uplink.sock"
    settings = RelaySettings(bench.settings["ingest_address"], listen=socket, tls=files)

    def deliver() -> int:
        with relaying(settings) as relay, delivering(socket, spool):
            put_batches(spool, range(1, 3))
            enrolled(bench, "host")
            wait_until(lambda: relay.traffic.streams >= 2)
            put_batches(spool, range(3, 5))
            return relay.traffic.streams

    async def talk(running: Bench) -> int:
        return await asyncio.to_thread(deliver)

    streams = bench.run(talk)
    spool.close()

    assert streams >= 2


def put_batches(spool: Spool, numbers: range) -> None:
    put(spool, numbers)
    wait_until(lambda: spool.stats().batches == 0)
