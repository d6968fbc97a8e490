"""From wire to ledger on a real database: charges, late news, prices that come or change later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.gpu_samples import H100, PRICES, Books, add_device, add_hold, add_watched

from whence_collector.retention import fold
from whence_collector.settle import SECOND_NS
from whence_proto.v1 import ingest_pb2 as wire


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.store.close()


def a_held_minute(books: Books) -> None:
    maker = books.batch().start(1)
    maker.process(100)
    add_device(maker)
    add_watched(maker, 0, 70, busy=35)
    add_hold(maker, 10, 40)
    books.send(maker)


def test_a_hold_becomes_charges_that_cost_what_the_price_says(books: Books) -> None:
    books.file.write_text(PRICES)
    a_held_minute(books)

    books.settle()

    assert books.net() == [
        (0, 10, "idle", 10, 10_000),
        (10, 40, "held", 30, 30_000),
        (40, 60, "idle", 20, 20_000),
    ]
    assert books.rows("SELECT * FROM spend_violations") == []


def test_settling_again_adds_nothing(books: Books) -> None:
    a_held_minute(books)
    first = books.settle()

    assert (first.entries, books.settle().entries) == (3, 0)


def test_time_without_a_price_is_kept_and_priced_later(books: Books) -> None:
    a_held_minute(books)
    books.settle()
    before = books.net()

    books.file.write_text(PRICES)
    books.settle()

    assert [row[4] for row in before] == [None, None, None]
    assert [row[4] for row in books.net()] == [10_000, 30_000, 20_000]
    kinds = books.rows("SELECT entry_kind, count(*) FROM spend_ledger GROUP BY 1 ORDER BY 1")
    assert kinds == [("charge", 3), ("price", 3)]


def test_another_price_adds_the_difference_and_leaves_what_was_charged(books: Books) -> None:
    books.file.write_text(PRICES)
    a_held_minute(books)
    books.settle()

    books.file.write_text(PRICES.replace("3.6", "7.2"))
    books.settle()

    assert [row[4] for row in books.net()] == [20_000, 60_000, 40_000]
    assert books.rows("SELECT micro_usd FROM spend_ledger ORDER BY entry_id") == [
        (10_000,), (30_000,), (20_000,), (10_000,), (30_000,), (20_000,),
    ]  # fmt: skip
    assert books.rows(
        "SELECT nano_usd_per_gpu_hour, superseded_ns IS NULL FROM price_book ORDER BY price_id"
    ) == [(3_600_000_000, False), (7_200_000_000, True)]


def test_a_typo_leaves_the_old_prices_in_force(books: Books) -> None:
    books.file.write_text(PRICES)
    books.settle()
    books.file.write_text(PRICES.replace("usd_per_gpu_hour", "usd_per_gpu_huor"))
    a_held_minute(books)

    books.settle()

    assert [row[4] for row in books.net()] == [10_000, 30_000, 20_000]
    assert "line 4: unknown key 'usd_per_gpu_huor'" in str(books.settler.prices.error)


def test_news_from_the_past_reverses_and_charges_anew(books: Books) -> None:
    books.file.write_text(PRICES)
    a_held_minute(books)
    books.settle()
    maker = books.batch()
    add_hold(maker, 50, 55, number=2, tgid=200)
    books.send(maker)

    done = books.settle()

    assert done.corrected == 1
    assert books.net() == [
        (0, 10, "idle", 10, 10_000),
        (10, 40, "held", 30, 30_000),
        (40, 50, "idle", 10, 10_000),
        (50, 55, "held", 5, 5_000),
        (55, 60, "idle", 5, 5_000),
    ]
    assert books.rows("SELECT * FROM spend_violations") == []
    assert books.rows("SELECT sum(alloc_ns)::BIGINT, sum(micro_usd)::BIGINT FROM spend_ledger") == [
        (60 * SECOND_NS, 60_000)
    ]


def test_time_that_nobody_watched_is_unattributed(books: Books) -> None:
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 20)
    add_watched(maker, 50, 70)
    books.send(maker)

    books.settle()

    assert [row[:4] for row in books.net()] == [
        (0, 20, "idle", 20),
        (20, 50, "unattributed", 30),
        (50, 60, "idle", 10),
    ]


def test_a_hold_that_goes_on_is_charged_to_the_last_whole_minute(books: Books) -> None:
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 150)
    add_hold(maker, 0, None)
    books.send(maker)

    books.settle()

    assert [row[:4] for row in books.net()] == [(0, 120, "held", 120)]


def test_an_attached_monitor_costs_nothing(books: Books) -> None:
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 70)
    add_hold(maker, 0, None, kind=wire.GPU_HOLD_KIND_ATTACHED)
    books.send(maker)

    books.settle()

    assert [row[:4] for row in books.net()] == [(0, 60, "idle", 60)]


def test_the_wall_clock_may_step_without_moving_a_hold(books: Books) -> None:
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 30)
    add_hold(maker, 10, None)
    books.send(maker)
    later = books.batch()
    later.batch.wall_offset_ns += 3_600 * SECOND_NS
    add_watched(later, 30, 70)
    add_hold(later, 10, 40)
    books.send(later)

    books.settle()

    assert [row[:4] for row in books.net()] == [
        (0, 10, "idle", 10),
        (10, 40, "held", 30),
        (40, 60, "idle", 20),
    ]


def test_a_commitment_covers_as_many_gpus_as_it_has(books: Books) -> None:
    books.file.write_text(
        PRICES + "[[commitment]]\nid = 'c'\ngpu_model = 'NVIDIA H100*'\ngpus = 1\n"
        "from = 2020-01-01\nuntil = 2040-01-01\nusd_total = 1\n"
    )
    maker = books.batch()
    add_device(maker)
    add_device(maker, "GPU-2")
    add_watched(maker, 0, 70)
    add_hold(maker, 0, 30)
    books.send(maker)

    books.settle()

    assert books.rows("SELECT DISTINCT commitment, gpu_uuid FROM spend_ledger") == [("c", H100)]


def test_views_name_run_and_price(books: Books) -> None:
    books.file.write_text(PRICES)
    a_held_minute(books)
    books.settle()

    held = books.rows(
        "SELECT run_id IS NOT NULL, host, gpu_model, gpu_seconds, cost_usd, term, method "
        "FROM spend WHERE part = 'held'"
    )

    assert [(*row[:4], float(row[4]), *row[5:]) for row in held] == [
        (True, "h1", "NVIDIA H100 80GB HBM3", 30.0, 0.03, "on-demand", "exclusive/1")
    ]
    assert books.rows("SELECT kind, end_ns - start_ns FROM gpu_holds") == [("held", 30 * SECOND_NS)]


def test_folding_an_old_run_leaves_its_money(books: Books) -> None:
    """A rank that touched no file of note is still whom the GPU is charged to."""
    books.file.write_text(PRICES)
    maker = books.batch()
    script, rank = maker.process(100), maker.process(101)
    maker.start(script, arguments=("python3", "train.py")).start(rank, parent=script)
    maker.end(rank, at_ns=90 * SECOND_NS).end(script, at_ns=91 * SECOND_NS)
    add_device(maker)
    add_watched(maker, 0, 70)
    add_hold(maker, 10, 40, tgid=101)
    books.send(maker)
    books.settle()
    query = "SELECT gpu_seconds, cost_usd FROM runs WHERE gpu_seconds > 0"
    before = books.rows(query)

    folded = books.store.write(lambda writer: fold(writer, 1 << 62, 1)).result()

    assert folded.runs == 1
    assert books.rows(query) == before != []


def test_a_gpu_in_instances_is_charged_by_their_slices(books: Books) -> None:
    """Which instance a process is in only NVML's lists tell; the rest of the GPU is idle."""
    maker = books.batch()
    add_device(maker)
    for number, slices in ((1, 3), (2, 3)):
        add_device(maker, f"MIG-{number}")
        table = maker.batch.gpu_devices
        table.parent_text[-1] = maker.text(H100)
        table.compute_slices[-1], table.memory_slices[-1] = slices, 4
    add_watched(maker, 0, 70)
    add_hold(maker, 0, 60)
    shares = maker.batch.gpu_shares
    shares.gpu_text.append(maker.text("MIG-1"))
    shares.process.append(maker.process(100))
    shares.from_ns.append(maker.batch.gpu_slices.from_ns[0])
    shares.until_ns.append(maker.batch.gpu_slices.until_ns[0])
    shares.sm_ppm.append(-1)
    shares.memory_bytes.append(1 << 30)
    shares.mps.append(False)
    books.send(maker)

    books.settle()

    # The larger of 3 of 7 and 4 of 8.
    assert [row[2:4] for row in books.net()] == [("held", 30.0), ("idle", 30.0)]
    assert books.rows("SELECT * FROM spend_violations") == []


def test_the_server_of_mps_is_charged_nothing(books: Books) -> None:
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 70)
    server = maker.process(200)
    maker.start(server, exe="/usr/bin/nvidia-cuda-mps-server")
    add_hold(maker, 0, 60, number=1, tgid=200)
    add_hold(maker, 10, 40, number=2, tgid=100)
    books.send(maker)

    books.settle()

    assert [row[:4] for row in books.net()] == [
        (0, 10, "idle", 10),
        (10, 40, "held", 30),
        (40, 60, "idle", 20),
    ]
    assert books.rows("SELECT * FROM spend_violations") == []


def test_no_hold_outlives_the_boot_that_it_was_in(books: Books) -> None:
    """A host that lost its power told of no end: it is that of the last slice."""
    maker = books.batch()
    add_device(maker)
    add_watched(maker, 0, 20)
    add_hold(maker, 10, None)
    books.send(maker)
    later = books.batch(boot="boot-b")
    add_watched(later, 40, 130)
    books.send(later)

    books.settle()

    assert [row[:4] for row in books.net()] == [
        (0, 10, "idle", 10),
        (10, 20, "held", 10),
        (20, 40, "unattributed", 20),
        (40, 120, "idle", 80),
    ]
    assert books.rows("SELECT end_source FROM gpu_holds") == [("restart",)]
