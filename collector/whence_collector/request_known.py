"""What registry, price book and earlier runs know about a card. Reads only."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from whence_collector import tree_store
from whence_collector.answers_content import artifacts_of, consumers_of, versions_of
from whence_collector.answers_repeats import overlap_with_test_sets
from whence_collector.burning import price_of
from whence_collector.errors import InvalidRequest
from whence_collector.lookups import among
from whence_collector.price_book import load_book
from whence_collector.request_card import HOUR_S, usd_text
from whence_collector.request_check import LONGEST_S, MOST_GPUS

if TYPE_CHECKING:
    from whence_collector.request_book import Book
    from whence_collector.request_card import Card
    from whence_collector.store import Reader
    from whence_collector.tree_store import Tree

LIKE_RUNS = 50
DIGITS, HEX = 64, frozenset("0123456789abcdef")
VERSIONS_LOOKED_AT = 2_000


class Registry:
    """Answers for one card, from one state of the database."""

    def __init__(self, reader: Reader, book: Book, now: int) -> None:
        self._reader, self._book, self._now = reader, book, now

    def contents(self, digest: str) -> list[str]:
        """Return the full digests that begin so, two at most."""
        return contents(self._reader, digest)

    def is_test_set(self, digest: str) -> str:
        """Return how a content is labelled as test data, "" where it is not."""
        return test_label(self._reader, digest)

    def has_commit(self, commit: str) -> bool:
        """Whether a run was ever seen at that commit."""
        found = self._reader.rows(
            "SELECT 1 FROM run WHERE git_commit IS NOT NULL AND starts_with(git_commit, ?) LIMIT 1",
            (commit,),
        )
        return bool(found)

    def earlier_runs(self, card: Card) -> list[str]:
        """Return sentences about runs that read the same data, and requests for the same."""
        sentences = same_work(self._reader, card)
        for request in self._book.requests.values():
            same = request.card.terms_digest == card.terms_digest
            if same or (card.datasets and _same_work(request.card, card)):
                sentences.append(
                    f"{request.request_id} asked for the same data, model and code "
                    f"({request.state.value}, {usd_text(request.spent_micro_usd)} spent)"
                )
        return sentences[-5:]

    def estimate(self, card: Card) -> dict[str, Any]:
        """Return the fields of Estimate; empty where the machines are not told or implausible."""
        compute = card.compute
        if not 0 < compute.gpu_seconds <= MOST_GPUS * LONGEST_S:
            return {}
        basis: list[str] = []
        found: dict[str, Any] = {"gpu_seconds": compute.gpu_seconds, "basis": basis}
        self._by_price(card, found, basis)
        self._by_like_runs(card, found, basis)
        return found

    def _by_price(self, card: Card, found: dict[str, Any], basis: list[str]) -> None:
        compute = card.compute
        price = price_of(load_book(self._reader)[0], compute.gpu_model, self._now)
        if price is None:
            basis.append(f"no price is known for {compute.gpu_model}: `whence prices` lists them")
            return
        nano_usd, words = price
        found["micro_usd_per_gpu_hour"] = nano_usd // 1_000
        found["micro_usd"] = nano_usd * compute.gpu_seconds // (HOUR_S * 1_000)
        basis.append(
            f"{compute.count} x {compute.gpu_model} x {hours_text(compute.duration_s)} at "
            f"{usd_text(nano_usd // 1_000)} a GPU-hour ({words}): {usd_text(found['micro_usd'])}"
        )

    def _by_like_runs(self, card: Card, found: dict[str, Any], basis: list[str]) -> None:
        costs = like_costs(self._reader, card)
        if not costs:
            basis.append("no earlier run read this data with a known cost")
            return
        middle = int(median(costs))
        found["like_runs"], found["like_runs_micro_usd"] = len(costs), middle
        basis.append(
            f"{len(costs)} earlier run{'s' if len(costs) > 1 else ''} on this data cost "
            f"{usd_text(middle)} (median)"
        )


def hours_text(duration_s: int) -> str:
    """Return hours as people write them: "3.2 h"."""
    return f"{duration_s / HOUR_S:.4f}".rstrip("0").rstrip(".") + " h"


def _same_work(one: Card, other: Card) -> bool:
    return (
        {each.digest for each in one.datasets} == {each.digest for each in other.datasets}
        and one.base_model.digest == other.base_model.digest
        and one.commit == other.commit
        and one.command == other.command
    )


def contents(reader: Reader, digest: str) -> list[str]:
    """Return the full digests of contents ("blake3:…") and trees ("tree:…") that begin so.

    Two at most; none for a malformed one.
    """
    if digest.startswith("sha256:"):
        found = reader.rows(
            "SELECT lower(hex(blake3)) FROM artifact WHERE starts_with(lower(hex(sha256)), ?) "
            "LIMIT 2",
            (digest.removeprefix("sha256:"),),
        )
        return [f"blake3:{row[0]}" for row in found]
    trees = [f"tree:{each.digest.hex()}" for each in trees_of(reader, digest)]
    if digest.startswith("tree:"):
        return trees
    try:
        return [*(each.digest for each in artifacts_of(reader, digest, 2)), *trees][:2]
    except InvalidRequest:
        return []


def trees_of(reader: Reader, digest: str) -> list[Tree]:
    """Return the trees whose digest begins so, two at most."""
    digits = digest.removeprefix("tree:").removeprefix("blake3:")
    if not digits or not set(digits) <= HEX or len(digits) > DIGITS:
        return []
    return tree_store.by_digest(reader, digits, 2)


def readers_of(reader: Reader, digest: str, limit: int) -> list[str]:
    """Return runs that read a content or tree, newest first."""
    found = contents(reader, digest)
    if not found:
        return []
    if found[0].startswith("tree:"):
        ids = [each.tree_id for each in trees_of(reader, found[0])]
        condition, params = among("tree_id", ids)
        rows = reader.rows(
            "SELECT run_id, max(first_ns) AS read_ns FROM run_tree "  # noqa: S608 -- our own names
            f"WHERE NOT wrote AND {condition} "
            "GROUP BY run_id ORDER BY read_ns DESC LIMIT ?",
            (*params, limit),
        )
        return [run for run, _ in rows]
    artifact = artifacts_of(reader, found[0], 1)[0]
    versions = [each for each, _ in versions_of(reader, artifact.artifact_id)]
    if not versions:
        return []
    return [run for run, _ in consumers_of(reader, versions[:VERSIONS_LOOKED_AT], limit)]


def like_costs(reader: Reader, card: Card) -> list[int]:
    """Return what runs that read the same data cost, in micro-dollars; only known costs."""
    runs: list[str] = []
    for dataset in card.datasets:
        if dataset.digest:
            runs += readers_of(reader, dataset.digest, LIKE_RUNS)
    return [cost for cost in costs_of(reader, runs).values() if cost]


def costs_of(reader: Reader, run_ids: list[str]) -> dict[str, int]:
    """Return the cost of runs with their steps, in micro-dollars; runs without any are left out."""
    if not run_ids:
        return {}
    condition, params = among("run_id", run_ids)
    rows = reader.rows(
        f"SELECT run_id, micro_usd FROM run_spend WHERE {condition}",  # noqa: S608 -- our own names
        params,
    )
    return {run: int(cost) for run, cost in rows if cost is not None}


def same_work(reader: Reader, card: Card) -> list[str]:
    """Return sentences about runs that read the same data and base model at the same commit."""
    wanted = [ref.digest for ref in (*card.datasets, card.base_model) if ref.digest]
    if not wanted:
        return []
    found = readers_of(reader, wanted[0], LIKE_RUNS)
    for digest in wanted[1:]:
        also = set(readers_of(reader, digest, LIKE_RUNS))
        found = [run for run in found if run in also]
    if not found:
        return []
    condition, params = among("run_id", found)
    rows = reader.rows(
        "SELECT run_id, command, started_ns FROM run "  # noqa: S608 -- our own names
        f"WHERE status = 'succeeded' AND starts_with(coalesce(git_commit, ''), ?) AND {condition} "
        "ORDER BY started_ns DESC LIMIT 3",
        (card.commit, *params),
    )
    costs = costs_of(reader, [run for run, _, _ in rows])
    return [_ran(reader, run, words, at, costs.get(run)) for run, words, at in rows]


def _ran(reader: Reader, run: str, command: str, started_ns: int, cost: int | None) -> str:
    made = reader.rows(
        "SELECT artifact FROM run_outputs WHERE run_id = ? AND class = 'model' "
        "AND artifact IS NOT NULL AND NOT deleted ORDER BY last_at DESC LIMIT 1",
        (run,),
    )
    day = datetime.fromtimestamp(started_ns // 1_000_000_000, UTC).date()
    price = f" for {usd_text(cost)}" if cost is not None else ""
    digest = f", and made {made[0][0][:19]}" if made else ""
    return f"this ran on {day}{price}: run {run[:8]}, {command}{digest}"


def test_label(reader: Reader, digest: str) -> str:
    """Return the label by which a content counts as test data, "" where it has none.

    Its own label, or that of a run which made it from test data or was said to.
    """
    found = contents(reader, digest)
    if len(found) != 1:
        return ""
    rows = reader.rows(
        "SELECT key, value FROM tags WHERE key = 'test-set' AND stands AND (subject = ? OR run_id "
        "IN (SELECT run_id FROM run_outputs WHERE artifact = ?)) LIMIT 1",
        (found[0], found[0]),
    )
    if not rows:
        common = overlap_with_test_sets(reader, found)
        if not common:
            return ""
        files = f"{common[0].contents} file{'' if common[0].contents == 1 else 's'}"
        return f"{common[0].subject[:19]}, labelled test-set, in {files}"
    return f"what is labelled {rows[0][0]}" + (f" ({rows[0][1]})" if rows[0][1] else "")
