"""Conservation counters: what was tried, what came, what was lost, each told once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.daemon_samples import NOW_NS, READER, SECOND_NS, WRITER

from whenced.losses import CLASS_OF, Ledger
from whenced.record import CLASSES, Kind
from whenced.rows import LossRow


def ledger_after(*kinds: Kind) -> Ledger:
    """Return a ledger that was told of received records of these kinds."""
    ledger = Ledger(NOW_NS)
    ledger.received(np.bincount([int(kind) for kind in kinds], minlength=1))
    return ledger


@pytest.mark.parametrize(
    ("record_class", "kinds"),
    [
        ("life", {Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.PROCESS_SEEN, Kind.UNSEEN}),
        ("name", {Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.TRUNCATE_PATH}),
    ],
)
def test_classes_of_records(record_class: str, kinds: set[Kind]) -> None:
    assert {kind for kind, found in CLASS_OF.items() if found == record_class} == kinds


def test_every_kind_has_a_class() -> None:
    assert set(CLASS_OF) == set(Kind)
    assert set(CLASS_OF.values()) <= set(CLASSES)


def test_a_loss_of_nobody_knows_whom_is_told_when_two_looks_found_it() -> None:
    ledger = ledger_after(Kind.READ, Kind.WRITE)

    early = ledger.rows({"touch": (5, 2, 3)}, NOW_NS)
    rows = ledger.rows({"touch": (5, 2, 3)}, NOW_NS + 1)

    assert early == []
    assert rows == [LossRow("touch", 5, 2, 3, "the ring of touches was full", NOW_NS, NOW_NS + 1)]
    assert ledger.lost_in_all == 3


def test_a_loss_is_told_once() -> None:
    ledger = ledger_after(Kind.READ, Kind.WRITE)
    ledger.rows({"touch": (5, 2, 3)}, NOW_NS + 1, last=True)
    ledger.received(np.bincount([Kind.READ]))

    rows = ledger.rows({"touch": (6, 3, 3)}, NOW_NS + 6 * SECOND_NS)

    assert rows == [LossRow("touch", 1, 1, 0, None, NOW_NS + 1, NOW_NS + 6 * SECOND_NS)]
    assert ledger.lost_in_all == 3


@pytest.mark.parametrize(("waited_s", "told"), [(1, 0), (4, 0), (5, 1)])
def test_what_was_conserved_is_told_every_five_seconds(waited_s: int, told: int) -> None:
    ledger = ledger_after(Kind.FORK)

    assert len(ledger.rows({"life": (1, 1, 0)}, NOW_NS + waited_s * SECOND_NS)) == told


def test_silence_is_not_told() -> None:
    ledger = ledger_after()

    assert ledger.rows(dict.fromkeys(CLASSES, (0, 0, 0)), NOW_NS + 100 * SECOND_NS) == []


@pytest.mark.parametrize(
    ("record_class", "reason"),
    [
        ("life", "the ring of processes was full"),
        ("touch", "the ring of touches was full"),
        ("name", "the ring of names was full"),
        ("text", "a ring of texts was full"),
        ("aggregate", "the table of counts was full, so counts are a lower bound"),
    ],
)
def test_reasons(record_class: str, reason: str) -> None:
    (row,) = Ledger(NOW_NS).rows({record_class: (1, 0, 1)}, NOW_NS, last=True)

    assert row.reason == reason


def test_texts_and_aggregates_are_counted_apart() -> None:
    ledger = Ledger(NOW_NS)
    ledger.texts(7)
    ledger.aggregates(3)

    counts = {"text": (7, 7, 0), "aggregate": (4, 3, 1)}
    rows = ledger.rows(counts, NOW_NS + 5 * SECOND_NS, last=True)

    assert {row.record_class: (row.received, row.lost) for row in rows} == {
        "text": (7, 0),
        "aggregate": (3, 1),
    }


def test_classes_are_told_each_in_its_own_time() -> None:
    ledger = ledger_after(Kind.READ, Kind.RENAME)
    ledger.rows({"touch": (2, 1, 1)}, NOW_NS + 1)
    first = ledger.rows({"touch": (2, 1, 1), "name": (1, 1, 0)}, NOW_NS + SECOND_NS)
    second = ledger.rows({"touch": (2, 1, 1), "name": (1, 1, 0)}, NOW_NS + 5 * SECOND_NS)

    assert [row.record_class for row in first] == ["touch"]
    assert [(row.record_class, row.from_ns) for row in second] == [("name", NOW_NS)]


def test_a_loss_whose_process_is_known_is_told_at_once_and_of_it_alone() -> None:
    ledger = ledger_after(Kind.READ)
    ledger.lost_by(READER, (0, 2, 0, 0, 0))
    ledger.lost_by(WRITER, (0, 1, 0, 0, 0))

    rows = ledger.rows({"touch": (4, 1, 3)}, NOW_NS + 1)
    later = ledger.rows({"touch": (4, 1, 3)}, NOW_NS + 9 * SECOND_NS, last=True)

    why = "the ring of touches was full"
    assert rows == [
        LossRow("touch", 4, 1, 0, None, NOW_NS, NOW_NS + 1),
        LossRow("touch", 0, 0, 2, why, NOW_NS, NOW_NS + 1, READER),
        LossRow("touch", 0, 0, 1, why, NOW_NS, NOW_NS + 1, WRITER),
    ]
    assert (later, ledger.lost_in_all, ledger.is_open) == ([], 3, False)


def test_a_loss_that_happens_between_the_two_looks_is_named_by_the_next() -> None:
    """Who lost is read before how much: nothing is told of nobody, and nothing twice."""
    ledger = ledger_after()
    first = ledger.rows({"touch": (1, 0, 1)}, NOW_NS)
    is_open = ledger.is_open
    ledger.lost_by(READER, (0, 1, 0, 0, 0))

    second = ledger.rows({"touch": (1, 0, 1)}, NOW_NS + 1)
    third = ledger.rows({"touch": (1, 0, 1)}, NOW_NS + 2, last=True)

    assert (first, is_open) == ([], True)
    assert [(row.process, row.lost) for row in second if row.lost] == [(READER, 1)]
    assert third == []
