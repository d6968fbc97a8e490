"""The collector as a program: full disks, taken ports, second instances, signals, metrics."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from tests.unit.collector_batches import BatchMaker, one_of_each
from tests.unit.collector_bench import Bench, Witness

from whence_collector.config import Config
from whence_collector.errors import AddressUnusable
from whence_collector.query import QueryService
from whence_collector.server import Parts, serve
from whence_proto.v1 import ingest_pb2 as wire
from whence_proto.v1 import query_pb2, query_pb2_grpc


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB; needs root, as the daemon does."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mounted], check=True)
    yield mounted
    # Lazily: a test that failed leaves its database open.
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_full_disk_holds_acks_back_and_says_why_until_there_is_room(small_disk: Path) -> None:
    def filling(number: int) -> wire.Batch:
        maker = BatchMaker(number)
        process, file = maker.process(1), maker.file(number)
        maker.batch.strings.extend(f"/{number}/{os.urandom(300).hex()}" for _ in range(300))
        for _ in range(300):
            maker.access(process, file, "/x")
        maker.batch.accesses.path_text[:] = range(1, 301)
        return maker.batch

    async def talk(bench: Bench) -> None:
        assert bench.store is not None
        delivering = asyncio.create_task(bench.deliver(*(filling(at) for at in range(1, 31))))
        while not bench.store.storage_error:
            assert not delivering.done()
            await asyncio.sleep(0.02)
        said = bench.store.storage_error
        reached = bench.rows("SELECT number FROM batch_ledger")[0][0]
        subprocess.run(["mount", "-o", "remount,size=256m", small_disk], check=True)
        acks = await delivering

        assert "No space left" in said
        assert said.endswith("daemons keep their batches meanwhile")
        assert 1 <= reached < 30
        assert acks == [("e1", number) for number in range(1, 31)]
        assert bench.rows("SELECT count(*), count(DISTINCT path_id) FROM access") == [(9000, 9000)]
        assert bench.store.storage_error is None

    Bench(small_disk).run(talk)


def test_a_port_that_is_taken_is_told_and_a_second_collector_does_not_start(
    tmp_path: Path,
) -> None:
    async def talk(bench: Bench) -> None:
        port = int(bench.address.rpartition(":")[2])
        other = Config("127.0.0.1", port, tmp_path / "b", tmp_path / "instances")
        parts = Parts(lambda _: Witness([]), QueryService)
        with pytest.raises(AddressUnusable) as caught:
            await serve(other, parts, asyncio.Event(), lambda _: None)

        assert str(caught.value) == (
            f"cannot listen on 127.0.0.1:{port}; stop what listens there "
            "or choose another --address"
        )

    Bench(tmp_path / "a").run(talk)


def collector(data_dir: Path, address: str = "127.0.0.1:0") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "whence_collector"],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "WHENCE_DATA_DIR": str(data_dir),
            "WHENCE_ADDRESS": address,
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("serving on "):
            return line.split()[-1]
    raise AssertionError("the collector ended before it was ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_starts_answers_and_stops_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = collector(tmp_path)
    address = until_ready(process)
    pid_file = tmp_path / "run" / "collector.pid"
    pid = pid_file.read_text(encoding="ascii")
    with grpc.insecure_channel(address) as channel:
        reply = query_pb2_grpc.QueryStub(channel).Status(query_pb2.StatusRequest())
    process.send_signal(number)
    _, said = process.communicate()

    assert (process.returncode, pid) == (0, f"{process.pid}\n")
    assert reply.schema_version >= 1
    assert "Traceback" not in said
    assert not pid_file.exists()


def test_a_second_collector_on_the_same_data_ends_with_one_sentence_and_harms_nothing(
    tmp_path: Path,
) -> None:
    first = collector(tmp_path)
    address = until_ready(first)
    second = collector(tmp_path)
    _, said = second.communicate()
    pid = (tmp_path / "run" / "collector.pid").read_text(encoding="ascii")
    with grpc.insecure_channel(address) as channel:
        query_pb2_grpc.QueryStub(channel).Status(query_pb2.StatusRequest())
    first.terminate()
    first.communicate()

    assert second.returncode == 2
    assert said.startswith("whence-collector: ")
    assert said.endswith(
        f"is held by process {first.pid}; stop that collector or choose another --data-dir\n"
    )
    assert pid == f"{first.pid}\n"


def test_a_bad_address_is_one_sentence(tmp_path: Path) -> None:
    process = collector(tmp_path, "nowhere")
    _, said = process.communicate()

    assert process.returncode == 2
    assert said == (
        "whence-collector: address 'nowhere' is not HOST:PORT; write it like 127.0.0.1:7420\n"
    )


def test_the_metrics_page_counts_what_was_stored(tmp_path: Path) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(one_of_each(1), one_of_each(1))
        port = int(bench.address.rpartition(":")[2]) + 1

        page = await asyncio.to_thread(_page, port)

        assert 'whence_collector_batches_total{outcome="stored"} 1.0' in page
        assert 'whence_collector_batches_total{outcome="duplicate"} 1.0' in page
        assert "whence_collector_rows_total 26.0" in page
        assert 'whence_collector_lost_records_total{record_class="touch"} 3.0' in page
        assert "whence_collector_connected_daemons 0.0" in page

    Bench(tmp_path, _free_port()).run(talk)


def _page(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        return str(reply.read().decode())


def _free_port() -> int:
    """Find a port that is free together with the one after it."""
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        with socket.socket() as second:
            second.bind(("127.0.0.1", port + 1))
    return port
