"""Deliver over real gRPC into a real file: acks after commits, nothing twice, no silent loss."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.collector_batches import ZERO_UNIX_NS, BatchMaker, one_of_each
from tests.unit.collector_bench import Bench, hello

from whence_collector.ingest import WIRE_VERSION
from whence_collector.turns import Turns
from whence_proto.v1 import ingest_pb2 as wire


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_batch_lands_in_every_table_in_dense_ids(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        assert await bench.deliver(one_of_each()) == [("e1", 1)]

        at = ZERO_UNIX_NS
        python = 2
        expected = {
            "SELECT * FROM host": [(1, "h1", "m1")],
            "SELECT * FROM boot": [(1, "boot-a", 1)],
            "SELECT * FROM path ORDER BY ALL": [
                (1, "/work/train.py"),
                (2, "/work/model.tmp"),
                (3, "/work/model.pt"),
            ],
            "SELECT process_id, parent_process_id, exe, argv, exe_version_id, at_unix_ns "
            "FROM process ORDER BY ALL": [
                (1, None, "/bin/sh", [], None, at),
                (python, 1, "/usr/bin/python3", ["python3", "train.py", ""], 1, at),
            ],
            "SELECT * FROM process_end": [(python, at + 9, 3, 0, False)],
            "SELECT * FROM access ORDER BY version_id": [
                (python, 1, 1, 1, 2, 100, at + 1, at + 2, 0, 1),
                (python, 2, 2, 2, 2, 100, at + 1, at + 2, 0, 1),
            ],
            "SELECT * FROM name_change": [(python, 1, at + 5, 2, 3, None, False, 1)],
            "SELECT version_id, state, artifact_id, path_id, at_unix_ns FROM version_digest "
            "ORDER BY ALL": [(1, 1, 1, 1, at + 3), (2, 1, 2, 3, at + 3)],
            "SELECT * FROM artifact ORDER BY 1": [
                (1, b"s" * 32, None, 14, at + 3, False),
                (2, b"m" * 32, b"x" * 32, 14, at + 3, False),
            ],
            "SELECT * FROM code_state": [
                (python, "/work", "c" * 40, "main", None, True, ["train.py"], at + 4)
            ],
            "SELECT * FROM stream_touch": [(python, 1, 13, 2**63 + 5, True, at + 2, None)],
            "SELECT * FROM account": [(python, at + 8, 4096, 8192, 4096, 8192, 0, 0, 49_152)],
            "SELECT * FROM loss": [(1, "touch", 10, 7, 3, "ring full", at, at + 9, python)],
            "SELECT inode, version FROM file_version ORDER BY 1": [(1, 0), (2, 1 << 32)],
            "SELECT epoch, number, boot_id FROM batch_ledger": [("e1", 1, 1)],
        }
        assert {sql: bench.rows(sql) for sql in expected} == expected

    bench.run(talk)


def test_the_stable_views_show_what_was_stored(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(one_of_each())

        assert bench.rows(
            "SELECT op, path, artifact, artifact_state FROM file_accesses ORDER BY 1"
        ) == [
            ("read", "/work/train.py", "blake3:" + b"s".hex() * 32, "verified"),
            ("rename", "/work/model.tmp", None, None),
            ("write", "/work/model.tmp", "blake3:" + b"m".hex() * 32, "verified"),
        ]
        assert bench.rows(
            "SELECT process_id, parent_process_id, host, pid, exit_code, exit_signal "
            "FROM processes ORDER BY 1"
        ) == [("1", None, "h1", 100, None, None), ("2", "1", "h1", 101, 3, None)]
        assert bench.rows("SELECT last_path, sha256, size, host FROM artifacts ORDER BY 1") == [
            ("/work/model.pt", b"x".hex() * 32, 14, "h1"),
            ("/work/train.py", None, 14, "h1"),
        ]

    bench.run(talk)


def test_the_deriver_gets_each_row_once_after_it_was_stored(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(*(one_of_each(number) for number in range(1, 21)))

        assert sum(len(batch.accesses.op) for batch in bench.seen) == 40
        assert sum(len(batch.ends) for batch in bench.seen) == 20
        assert bench.seen[-1].number == 20

    bench.run(talk)


def test_a_batch_that_comes_again_is_acked_again_and_stored_once(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        first = await bench.deliver(one_of_each(1), one_of_each(2), one_of_each(1))
        second = await bench.deliver(one_of_each(2), one_of_each(3))

        assert first == [("e1", 1), ("e1", 2), ("e1", 1)]
        assert second == [("e1", 2), ("e1", 2), ("e1", 3)]
        assert bench.rows("SELECT count(*) FROM access") == [(6,)]

    bench.run(talk)


def test_marks_and_ids_survive_a_restart(bench: Bench) -> None:
    async def first(bench: Bench) -> None:
        await bench.deliver(one_of_each(1))

    async def second(bench: Bench) -> None:
        assert await bench.deliver(one_of_each(1), one_of_each(2)) == [
            ("e1", 1),
            ("e1", 1),
            ("e1", 2),
        ]
        assert bench.rows("SELECT count(*), max(version_id), max(path_id) FROM access") == [
            (4, 2, 2)
        ]
        assert bench.rows("SELECT count(*) FROM artifact") == [(2,)]

    bench.run(first)
    bench.run(second)


def test_a_gap_in_the_numbers_is_kept_as_a_loss(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(one_of_each(1), one_of_each(5))

        assert bench.rows(
            "SELECT record_class, attempted, received, lost, reason FROM loss WHERE lost <> 3 "
            "OR record_class = 'batch'"
        ) == [("batch", 3, 0, 3, "batches 2 to 4 of epoch e1 never came")]

    bench.run(talk)


def test_a_restarted_daemon_counts_versions_anew(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(one_of_each(1, "e1"), one_of_each(1, "e2"))

        assert bench.rows("SELECT count(*) FROM file_version") == [(4,)]
        assert bench.rows("SELECT count(*) FROM process_key") == [(2,)]

    bench.run(talk)


def test_a_later_description_of_a_process_takes_the_place_of_the_first(bench: Bench) -> None:
    def described(number: int, exe: str) -> wire.Batch:
        maker = BatchMaker(number)
        return maker.start(maker.process(7), exe=exe).batch

    async def talk(bench: Bench) -> None:
        twice = BatchMaker(3)
        twice.start(twice.process(7), exe="/bin/c").start(1, exe="/bin/d")
        await bench.deliver(described(1, "/bin/a"), described(2, "/bin/b"))
        await bench.deliver(twice.batch)

        assert bench.rows("SELECT process_id, exe FROM process") == [(1, "/bin/d")]

    bench.run(talk)


def test_a_surer_digest_takes_the_place_of_a_less_sure_one(bench: Bench) -> None:
    def stated(number: int, state: int, blake3: bytes = b"") -> wire.Batch:
        maker = BatchMaker(number)
        return maker.digest(maker.file(1), "/f", blake3, state, reason="why").batch

    async def talk(bench: Bench) -> None:
        await bench.deliver(stated(1, wire.DIGEST_STATE_UNHASHED))
        await bench.deliver(stated(2, wire.DIGEST_STATE_VERIFIED, b"d" * 32))
        await bench.deliver(stated(3, wire.DIGEST_STATE_TORN))

        assert bench.rows("SELECT version_id, state, artifact_id FROM version_digest") == [
            (1, 1, 1)
        ]

    bench.run(talk)


def test_sha256_that_comes_later_is_added(bench: Bench) -> None:
    def stated(number: int, inode: int, sha256: bytes) -> wire.Batch:
        maker = BatchMaker(number)
        return maker.digest(maker.file(inode), "/f", b"d" * 32, sha256=sha256).batch

    async def talk(bench: Bench) -> None:
        await bench.deliver(stated(1, 1, b""))
        await bench.deliver(stated(2, 2, b"x" * 32))

        assert bench.rows("SELECT blake3, sha256 FROM artifact") == [(b"d" * 32, b"x" * 32)]
        assert bench.rows("SELECT artifact_id FROM artifact WHERE blake3 = '\\x64'::BLOB") == []

    bench.run(talk)


def test_a_new_content_takes_the_first_size_and_the_first_sha256_of_one_batch(bench: Bench) -> None:
    maker = BatchMaker()
    maker.digest(maker.file(1), "/e", b"e" * 32, sha256=b"z" * 32)
    for inode, sha256 in ((2, b""), (3, b"x" * 32), (4, b"y" * 32)):
        maker.digest(maker.file(inode), "/f", b"d" * 32, sha256=sha256)

    async def talk(bench: Bench) -> None:
        await bench.deliver(maker.batch)

        rows = bench.rows("SELECT artifact_id, blake3, sha256 FROM artifact ORDER BY artifact_id")
        assert rows == [(1, b"e" * 32, b"z" * 32), (2, b"d" * 32, b"x" * 32)]

    bench.run(talk)


def test_batches_of_several_boots_in_one_commit_keep_to_their_own(bench: Bench) -> None:
    """Their dictionaries lie in one stack; an index must not reach into a neighbour's."""

    def made(boot: str, tgid: int) -> BatchMaker:
        maker = BatchMaker(1, f"epoch-{boot}", boot)
        process = maker.process(tgid)
        return maker.start(process).access(process, maker.file(tgid), f"/{boot}/file")

    async def talk(bench: Bench) -> None:
        hosts = [(f"boot-{name}", 10 + at) for at, name in enumerate("abcd")]
        await asyncio.gather(
            *(
                bench.deliver(
                    hello(host=boot, machine_id=boot, boot_id=boot), made(boot, tgid).batch
                )
                for boot, tgid in hosts
            )
        )

        rows = bench.rows(
            "SELECT b.boot_uuid, k.tgid, n.path, v.inode FROM access a "
            "JOIN process_key k USING (process_id) JOIN path n USING (path_id) "
            "JOIN file_version v USING (version_id) JOIN boot b ON b.boot_id = k.boot_id "
            "WHERE v.boot_id = k.boot_id ORDER BY ALL"
        )
        assert rows == [(boot, tgid, f"/{boot}/file", tgid) for boot, tgid in hosts]

    bench.run(talk)


def test_two_hosts_with_one_name_are_told_apart_by_their_machine(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await bench.deliver(hello(), one_of_each())
        await bench.deliver(hello(machine_id="m2", boot_id="boot-b"))
        await bench.deliver(hello(daemon_version="2"))

        assert bench.rows("SELECT host_id, machine_id FROM host") == [(1, "m1"), (2, "m2")]
        assert bench.rows("SELECT host_id, daemon_version FROM daemon ORDER BY 1") == [
            (1, "2"),
            (2, ""),
        ]

    bench.run(talk)


def test_a_malformed_batch_is_refused_after_the_good_ones_were_acked(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        spoiled = one_of_each(2)
        spoiled.accesses.op.append(wire.ACCESS_OP_READ)
        code, sentence = await bench.refused(one_of_each(1), spoiled, one_of_each(3))

        assert code == "INVALID_ARGUMENT"
        assert sentence.startswith("column accesses.op has 3 rows where process has 2")
        assert bench.rows("SELECT number FROM batch_ledger") == [(1,)]
        assert await bench.deliver(one_of_each(2)) == [("e1", 1), ("e1", 2)]

    bench.run(talk)


@pytest.mark.parametrize(
    ("messages", "code", "words"),
    [
        ([wire.FromDaemon(batch=one_of_each())], "INVALID_ARGUMENT", "does not begin with Hello"),
        ([hello(), hello()], "INVALID_ARGUMENT", "other than a batch after Hello"),
        ([hello(), wire.FromDaemon()], "INVALID_ARGUMENT", "other than a batch after Hello"),
        ([hello(boot_id="")], "INVALID_ARGUMENT", "lacks host or boot_id"),
        ([hello(wire_version=WIRE_VERSION + 1)], "FAILED_PRECONDITION", "update the collector"),
    ],
)
def test_a_stream_that_breaks_the_rules_is_refused(
    bench: Bench, messages: list[wire.FromDaemon], code: str, words: str
) -> None:
    async def talk(bench: Bench) -> None:
        status, sentence = await bench.refused(*messages)

        assert (status, words in sentence) == (code, True)

    bench.run(talk)


def test_a_batch_that_cannot_be_derived_fails_alone(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        good = [one_of_each(number, "good") for number in range(1, 9)]
        bad, acked = await asyncio.gather(
            bench.refused(one_of_each(1, "bad")), bench.deliver(*good)
        )

        assert bad == (
            "INTERNAL",
            "batch 1 of epoch bad could not be stored; the collector's log holds the fault",
        )
        assert acked[-8:] == [("good", number) for number in range(1, 9)]
        assert bench.rows("SELECT count(*) FROM access") == [(16,)]
        assert bench.rows("SELECT epoch, number FROM batch_ledger") == [("good", 8)]

    bench.run(talk)


def test_many_streams_at_once_lose_and_repeat_nothing(bench: Bench) -> None:
    async def talk(bench: Bench) -> None:
        await asyncio.gather(
            *(
                bench.deliver(
                    hello(host=f"h{host}", machine_id=f"m{host}", boot_id=f"b{host}"),
                    *(
                        wire.FromDaemon(batch=_of_boot(number, host))
                        for number in [*range(1, 16), *range(10, 21)]
                    ),
                )
                for host in range(6)
            )
        )

        assert bench.rows("SELECT count(*) FROM access") == [(6 * 20,)]
        assert bench.rows("SELECT count(*), min(number), max(number) FROM batch_ledger") == [
            (6, 20, 20)
        ]
        assert bench.rows("SELECT count(*), count(DISTINCT path) FROM path") == [(20, 20)]

    bench.run(talk)


def _of_boot(number: int, host: int) -> wire.Batch:
    maker = BatchMaker(number, f"epoch-{host}", f"b{host}")
    maker.access(maker.process(1), maker.file(number), f"/shared/{number}")
    return maker.batch


def test_a_host_that_floods_makes_no_other_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts commits, not seconds: what of the flood comes before each batch of the other.

    Counted from when the batch has come, for until then its own stream is what it waits for.
    """
    flood_batches, quiet_batches = 1500, 8
    befores: list[int] = []
    put = Turns.put

    async def counted(turns: Turns[Any], host_id: int, item: Any) -> None:
        if item.submission.checked.message.epoch == "quiet":
            befores.append(max(batch.number for batch in bench.seen if batch.epoch == "flood"))
        await put(turns, host_id, item)

    monkeypatch.setattr(Turns, "put", counted)

    async def talk(bench: Bench) -> None:
        flood = [BatchMaker(number, epoch="flood").batch for number in range(1, flood_batches + 1)]
        flooding = asyncio.create_task(bench.deliver(*flood))
        while not bench.seen:
            await asyncio.sleep(0)

        between: list[int] = []
        for number in range(1, quiet_batches + 1):
            quiet = BatchMaker(number, boot="boot-b", epoch="quiet").batch
            assert (await bench.deliver(hello(host="h2", boot_id="boot-b"), _said(quiet)))[-1] == (
                "quiet",
                number,
            )
            at = [batch.epoch for batch in bench.seen].index("quiet", len(between))
            after = max(batch.number for batch in bench.seen[:at] if batch.epoch == "flood")
            between.append(after - befores[-1])

        # What the writer has in hand, and the flood's share of one group.
        assert max(between) <= 64
        await flooding

    bench.run(talk)


def _said(batch: wire.Batch) -> wire.FromDaemon:
    return wire.FromDaemon(batch=batch)
