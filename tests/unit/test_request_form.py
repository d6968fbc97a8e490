"""Cards as people write them: YAML, Markdown, words; and back for an editor."""

from __future__ import annotations

import pytest

from whence.errors import MisuseError
from whence.request_form import card_of, merged, read_card, write_card
from whence_proto.v1 import request_pb2 as wire

SECOND_NS = 1_000_000_000
NOW = 1_790_000_000 * SECOND_NS
SEED = """\
title: Tune base_v4 on the support tickets of Q2
rationale: This decides whether we tune or buy.
datasets: ["s3://corp/support-tickets-2026q2@ad9c125"]
base_model: base_v4@7c3a8de
code: {repository: "git@git.corp:support/tune", commit: 9f2c61d8}
compute: {count: 8, gpu_model: H100, hours: 3.2}
budget: 984.00
reviewers: [maria]
expires: 7d
"""


def test_the_seed_is_carried_in_full() -> None:
    card = read_card(SEED, NOW)

    assert (card.datasets[0].uri, card.datasets[0].digest) == (
        "s3://corp/support-tickets-2026q2", "ad9c125",
    )  # fmt: skip
    assert (card.base_model.name, card.base_model.digest) == ("base_v4", "7c3a8de")
    assert (card.compute.count, card.compute.gpu_model, card.compute.duration_s) == (
        8, "H100", 11_520,
    )  # fmt: skip
    assert card.budget_micro_usd == 984_000_000
    assert card.repository == "git@git.corp:support/tune"
    assert card.expires_unix_ns == NOW + 7 * 86_400 * SECOND_NS


def test_markdown_says_why_below_its_head() -> None:
    text = "---\nbudget: 5\nreviewers: maria, joe\n---\n# Tune it\n\nBecause.\n\nAnd so on.\n"

    card = read_card(text, NOW)

    assert (card.title, card.rationale) == ("Tune it", "Because.\n\nAnd so on.")
    assert list(card.reviewers) == ["maria", "joe"]


@pytest.mark.parametrize("digest", ["1234567", "12e4567", "0x12345", "1_000_000"])
def test_a_digest_is_never_read_as_a_number(digest: str) -> None:
    if not set(digest) <= set("0123456789abcdef"):
        with pytest.raises(MisuseError, match="no digest"):
            read_card(f"base_model: base@{digest}", NOW)
        return
    assert read_card(f"base_model: {{name: b, digest: {digest}}}", NOW).base_model.digest == digest


@pytest.mark.parametrize(
    ("text", "count", "model", "hours"),
    [("8 x H100 3.2 h", 8, "H100", 3.2), ("8x H100 for ~3.2 hours", 8, "H100", 3.2),
     ("1 × A100 80GB 0.5 h", 1, "A100 80GB", 0.5)],  # noqa: RUF001 -- as people paste it
)  # fmt: skip
def test_compute_in_words(text: str, count: int, model: str, hours: float) -> None:
    compute = card_of({"compute": text}, NOW).compute

    assert (compute.count, compute.gpu_model, compute.duration_s) == (count, model, hours * 3600)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"budget": "a lot"}, "budget"),
        ({"budget": "0.0000001"}, "6 decimals"),
        ({"budget": "-5"}, "budget"),
        ({"budget": "1e40"}, "budget"),
        ({"gpus": "many"}, "gpus"),
        ({"hours": "NaN"}, "hours"),
        ({"compute": "some GPUs"}, "compute"),
        ({"compute": {"count": 8, "ram": 3}}, "compute"),
        ({"datasets": ["x@zz"]}, "no digest"),
        ({"datasets": [{"name": "x", "hash": "y"}]}, "hash"),
        ({"expires": "soon"}, "expires"),
        ({"labels": "x"}, "labels"),
        ({"bugdet": "5"}, "bugdet"),
        ({"title": {"a": "b"}}, "title"),
    ],
)
def test_what_cannot_be_read_is_named(fields: dict[str, object], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        card_of(fields, NOW)


@pytest.mark.parametrize("text", ["- a\n- b", "title: [", "", "!!python/object:os.system {}", "x"])
def test_what_is_no_card_gets_one_sentence(text: str) -> None:
    with pytest.raises(MisuseError):
        read_card(text, NOW)


def test_an_editor_gets_the_card_and_gives_it_back() -> None:
    card = read_card(SEED, NOW)
    card.labels["cost centre"] = "17"

    again = read_card(write_card(card, ("a remark",)), NOW)

    again.expires_unix_ns = card.expires_unix_ns  # written to the minute
    assert again == card


def test_flags_win_over_the_file() -> None:
    words = card_of({"hours": "2", "reviewers": ["joe"]}, NOW)

    card = merged(read_card(SEED, NOW), words)

    assert (card.compute.count, card.compute.duration_s) == (8, 7_200)
    assert list(card.reviewers) == ["joe"]
    assert card.title == "Tune base_v4 on the support tickets of Q2"
    assert merged(card, wire.Card()) == card
