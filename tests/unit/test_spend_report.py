"""Answers from a real ledger: sums that add up, each waste once, FOCUS by its rules."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gpu_samples import PRICES, Books, add_device, add_hold, add_watched

from whence import focus, render_spend
from whence.page import Page
from whence_collector import spend_now, spend_report
from whence_collector.errors import InvalidRequest
from whence_collector.settle import SECOND_NS
from whence_proto.v1 import ingest_pb2
from whence_proto.v1 import spend_pb2 as wire

COMMITTED = (
    PRICES + "[[commitment]]\nid = 'c1'\ngpu_model = 'NVIDIA H100*'\ngpus = 1\n"
    "from = 2020-01-01\nuntil = 2040-01-01\nusd_total = 1000000\n"
)
PAGE = Page(width=80, now_unix_ns=0)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Two runs: one that succeeded (30 s), one that failed (20 s) and left an orphan (10 s)."""
    made = Books(tmp_path)
    made.file.write_text(PRICES)
    maker = made.batch()
    for tgid, exit_code in ((100, 0), (200, 1)):
        process = maker.process(tgid)
        maker.start(process, arguments=("python3", f"train{tgid}.py"), user=f"user{tgid}")
        maker.end(process, at_ns=90 * SECOND_NS, exit_code=exit_code)
    add_device(maker)
    add_watched(maker, 0, 100, busy=50)
    add_watched(maker, 110, 130)
    add_hold(maker, 0, 30, number=1, tgid=100)
    add_hold(maker, 40, 60, number=2, tgid=200)
    add_hold(maker, 60, 70, number=3, tgid=200, kind=ingest_pb2.GPU_HOLD_KIND_ORPHANED)
    made.send(maker)
    made.settle()
    yield made
    made.store.close()


def ask(books: Books, by: str, **scope: Any) -> wire.ReportSpendResponse:
    asked = wire.ReportSpendRequest(by=by, scope=wire.SpendScope(**scope))
    with books.store.cursor() as reader:
        return spend_report.report(reader, asked)


def seconds(answer: wire.ReportSpendResponse) -> dict[str, float]:
    return {row.key: row.sum.alloc_ns / SECOND_NS for row in answer.rows}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("user", {"user100": 30, "user200": 30}),
        ("outcome", {"succeeded": 30, "failed": 30}),
        ("host", {"h1": 60}),
        ("model", {"NVIDIA H100 80GB HBM3": 60}),
        ("project", {"": 60}),
        ("request", {"": 60}),
    ],
)
def test_rows_idle_and_unwatched_add_up_to_the_time_that_passed(
    books: Books, by: str, expected: dict[str, float]
) -> None:
    answer = ask(books, by)

    assert seconds(answer) == expected
    assert (answer.idle.alloc_ns, answer.unwatched.alloc_ns) == (50 * SECOND_NS, 10 * SECOND_NS)
    assert (answer.total.alloc_ns, answer.total.micro_usd) == (120 * SECOND_NS, 120_000)
    assert books.rows("SELECT * FROM spend_violations") == []


def test_a_limit_puts_the_others_into_one_row(books: Books) -> None:
    with books.store.cursor() as reader:
        answer = spend_report.report(reader, wire.ReportSpendRequest(by="user", limit=1))

    assert (len(answer.rows), answer.rest.alloc_ns) == (1, 30 * SECOND_NS)


def test_a_scope_of_one_user_has_that_users_time(books: Books) -> None:
    assert seconds(ask(books, "user", user="user200")) == {"user200": 30}


def test_what_there_is_no_spend_by_is_refused(books: Books) -> None:
    with pytest.raises(InvalidRequest, match="ask by one of user, project"):
        ask(books, "colour")


def test_every_held_nanosecond_has_one_class(books: Books) -> None:
    with books.store.cursor() as reader:
        answer = spend_report.waste(reader, wire.ReportWasteRequest())

    classes = {getattr(row, "class"): row.sum.alloc_ns / SECOND_NS for row in answer.rows}
    assert classes == {"orphaned": 10, "failed": 20, "productive": 30}


def test_used_and_unused_are_what_was_paid(books: Books) -> None:
    books.file.write_text(COMMITTED)
    books.settle()

    with books.store.cursor() as reader:
        now_ns = 1_800_000_000 * SECOND_NS
        answer = spend_report.commitments(reader, wire.ReportCommitmentsRequest(), now_ns)

    (row,) = answer.rows
    assert row.used_micro_usd + row.unused_micro_usd == row.paid_micro_usd
    used = books.rows("SELECT sum(micro_usd) FROM spend_net WHERE part IN ('held', 'orphaned')")
    assert row.used_micro_usd == used[0][0] > 0


def test_runs_cost_once_however_often_they_are_named(books: Books) -> None:
    run_ids = [row.key for row in ask(books, "run").rows]

    with books.store.cursor() as reader:
        answer = spend_report.cost_of_runs(reader, wire.CostRunsRequest(run_ids=run_ids * 2))

    assert (answer.known, answer.sum.alloc_ns, answer.sum.runs) == (True, 60 * SECOND_NS, 2)


def test_the_view_of_runs_tells_time_and_money(books: Books) -> None:
    rows = books.rows("SELECT gpu_seconds, cost_usd FROM runs ORDER BY command")

    assert [(float(a), float(b)) for a, b in rows] == [(30, 0.03), (30, 0.03)]


def test_now_shows_who_holds_and_what_it_burns(books: Books) -> None:
    maker = books.batch()
    add_watched(maker, 130, 140, busy=5)
    add_hold(maker, 131, None, number=9, tgid=200, kind=ingest_pb2.GPU_HOLD_KIND_ORPHANED)
    books.send(maker)
    with books.store.cursor() as reader:
        until = reader.rows("SELECT max(until_ns) FROM gpu_slice")[0][0]
        now = spend_now.show_now(reader, wire.ShowNowRequest(), until)

    (gpu,) = now.gpus
    assert (gpu.busy_percent, gpu.micro_usd_per_hour) == (50, 3_600_000)
    assert [(each.user, each.orphaned) for each in gpu.holders] == [("user200", True)]
    assert now.burn_micro_usd_per_hour == 3_600_000


def test_csv_adds_up_to_the_total_and_starts_no_formula(books: Books) -> None:
    answer = ask(books, "user")
    answer.rows[0].key = "=cmd()"

    rows = render_spend.csv_rows("user", answer)

    costs = [Decimal(row[3]) for row in rows[1:]]
    assert sum(costs) == Decimal(answer.total.micro_usd) / 1_000_000
    assert rows[1][0] == "'=cmd()"


def test_the_table_fits_eighty_columns(books: Books) -> None:
    lines = [
        *render_spend.spend_lines(PAGE, "run", ask(books, "run")),
        *render_spend.chart_lines(PAGE, "run", ask(books, "run")),
    ]

    assert [line for line in lines if len(line) > 80] == []
    assert any(line.startswith("total ") for line in lines)


# FOCUS -----------------------------------------------------------------------------------------

# Rules of FOCUS for a Cost and Usage dataset, as far as charges of ours can meet them: columns that
# must be there and filled, formats, values, and what columns say of each other.
FILLED = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeDescription",
    "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ResourceId", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId",
    "SkuPriceId", "Tags",
)  # fmt: skip
NUMBERS = tuple(
    name for name in focus.COLUMNS_1_3
    if name.endswith(("Cost", "UnitPrice", "Quantity"))
)  # fmt: skip
TIMES = tuple(name for name in focus.COLUMNS_1_3 if re.search("Period(Start|End)$", name))
VALUES = {
    "BillingCurrency": {"USD"},
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "CommitmentDiscountStatus": {"", "Used", "Unused"},
    "CommitmentDiscountCategory": {"", "Spend", "Usage"},
    "ServiceCategory": {"Compute", "AI and Machine Learning"},
    "ServiceSubcategory": {"Virtual Machines", "Machine Learning"},
}


def broken_rules(row: dict[str, str], version: str) -> list[str]:
    """Return the rules that a row breaks."""
    broken = [f"{name} is empty" for name in FILLED if not row[name]]
    broken += [f"{name} is no number" for name in NUMBERS
               if row.get(name) and not re.fullmatch(r"-?\d+(\.\d+)?", row[name])]  # fmt: skip
    broken += [f"{name} is no time" for name in TIMES
               if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[name])]  # fmt: skip
    broken += [f"{name} = {row[name]}" for name, values in VALUES.items()
               if row[name] not in values]  # fmt: skip
    return broken + broken_relations(row, version)


def broken_relations(row: dict[str, str], version: str) -> list[str]:
    """Return the rules between columns that a row breaks."""
    listed = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
    elements = json.loads(row.get("AllocatedMethodDetails") or "{}").get("Elements", [])
    kept = {
        "the charge period begins before it ends":
            row["ChargePeriodStart"] < row["ChargePeriodEnd"],
        "the charge lies in its billing period":
            row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["BillingPeriodEnd"],
        "a commitment has a status, and only that":
            bool(row["CommitmentDiscountId"]) == bool(row["CommitmentDiscountStatus"]),
        "what is unused of a commitment consumes nothing":
            row["CommitmentDiscountStatus"] != "Unused" or not row["ConsumedQuantity"],
        "a quantity has a unit, and only that":
            bool(row["ConsumedQuantity"]) == bool(row["ConsumedUnit"]),
        "tags and details are objects": all(
            isinstance(json.loads(row[name] or "{}"), dict) for name in ("Tags", "SkuPriceDetails")
        ),
        "list price times quantity is the list cost":
            abs(listed - Decimal(row["ListCost"])) < Decimal("0.00001"),
        "allocated ratios are shares":
            all(0 < Decimal(each["AllocatedRatio"]) <= 1 for each in elements),
        "an allocated resource names its method": version == "1.2"
            or bool(row["AllocatedResourceId"]) == bool(row["AllocatedMethodId"]),
    }  # fmt: skip
    return [rule for rule, holds in kept.items() if not holds]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("prices", [PRICES, COMMITTED])
def test_the_export_keeps_the_rules_of_focus(books: Books, version: str, prices: str) -> None:
    books.file.write_text(prices)
    books.settle()
    with books.store.cursor() as reader:
        charges = spend_report.charges(reader, wire.ExportChargesRequest())

    rows = list(focus.focus_rows(charges, version, "ACME"))

    assert [rule for row in rows for rule in broken_rules(row, version)] == []
    assert {tuple(row) for row in rows} == {focus.COLUMNS[version]}
    total = sum(Decimal(row["EffectiveCost"]) for row in rows)
    assert total == Decimal(ask(books, "user").total.micro_usd) / 1_000_000


def test_versions_differ_by_who_provides_and_how_it_was_split() -> None:
    assert set(focus.COLUMNS_1_3) - set(focus.COLUMNS_1_2) == {
        "ServiceProviderName", "HostProviderName", "AllocatedMethodId", "AllocatedMethodDetails",
        "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags",
    }  # fmt: skip


def test_a_csv_reader_reads_what_was_written(books: Books) -> None:
    with books.store.cursor() as reader:
        charges = spend_report.charges(reader, wire.ExportChargesRequest())
    rows = list(focus.focus_rows(charges, "1.2", "ACME"))
    file = io.StringIO()
    writer = csv.DictWriter(file, focus.COLUMNS_1_2)
    writer.writeheader()
    writer.writerows(rows)

    assert list(csv.DictReader(io.StringIO(file.getvalue()))) == rows
