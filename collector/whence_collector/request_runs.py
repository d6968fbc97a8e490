"""What runs did beside what was approved: cost, drift, and how well a run fits a request.

Reads only; what a fit means is decided in request_watch.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector import touches
from whence_collector.answers_runs import family_of
from whence_collector.burning import burning, of_runs
from whence_collector.lookups import among
from whence_collector.request_known import costs_of, trees_of
from whence_collector.request_progress import exhausted_unix_ns
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whence_collector.graph import Graph
    from whence_collector.request_book import Book, Request
    from whence_collector.request_card import Card, DataRef
    from whence_collector.store import Reader

RUN = """
SELECT r.run_id, r.command, r.status, r.started_ns, r.ended_ns, r.git_commit, r.git_dirty,
    r.parent_run_id, h.name, r.user_name, r.kind, r.git_modified
FROM run r JOIN host h USING (host_id)
"""
READ_TREES = """
SELECT u.path, 'tree:' || lower(hex(t.digest)) FROM run_tree u JOIN tree t USING (tree_id)
WHERE NOT u.wrote AND """
SHOWN_DIGITS = 7
READ_TOLD = 3
# What a fit is made of, in thousandths; a link by content alone takes LINKED of them.
DATA, MODEL, COMMIT, COMMAND, PERSON, WINDOW = 400, 200, 150, 75, 75, 100
LINKED = 700


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as far as requests ask for it."""

    run_id: str
    command: str
    status: str
    started_ns: int
    ended_ns: int | None
    git_commit: str | None
    git_dirty: bool | None
    parent_run_id: str | None
    host: str
    user: str | None
    kind: str
    git_modified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A content that a run read."""

    path: str
    digest: str
    file_class: str
    is_tree: bool = False  # path is a folder, digest that of the tree in it


class RunFacts:
    """What runs did, for answers and for the watch."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def runs(self, reader: Reader, run_ids: Sequence[str]) -> list[RunRow]:
        """Return runs in the order given; unknown ones are left out."""
        if not run_ids:
            return []
        condition, params = among("r.run_id", list(run_ids))
        found = {
            row[0]: replace(RunRow(*row), git_modified=tuple(row[-1] or ()))
            for row in reader.rows(f"{RUN} WHERE {condition}", params)
        }
        return [found[run_id] for run_id in run_ids if run_id in found]

    def request_of(self, book: Book, run: RunRow) -> Request | None:
        """Return the request that a run, or the run that it is a step of, answers."""
        for run_id in (run.run_id, run.parent_run_id or ""):
            request_id = book.run_request.get(run_id)
            if request_id is not None:
                return book.requests[request_id]
        return None

    def add(
        self, reader: Reader, message: wire.RequestDetail, request: Request, now_ns: int
    ) -> None:
        """Add runs with cost and drift, and when the budget ends, to a request's detail."""
        links = {link.run_id: link for link in request.runs}
        families = {run_id: family_of(reader, run_id) for run_id in links}
        everyone = [each for family in families.values() for each in family]
        costs = costs_of(reader, everyone)
        burns = of_runs(burning(reader, now_ns), everyone) if links else []
        for run in self.runs(reader, list(links)):
            link, family = links[run.run_id], families[run.run_id]
            shown = wire.LinkedRun(
                run_id=run.run_id,
                how=link.how,
                score=link.score,
                command=run.command,
                status=run.status,
                drift=[*self.drift(reader, request, run), *filter(None, [link.remark])],
            )
            here = [burn.unsettled_micro_usd(now_ns) for burn in of_runs(burns, family)]
            if here or any(each in costs for each in family):
                shown.micro_usd = sum(costs.get(each, 0) for each in family) + sum(here)
            message.runs.append(shown)
        spent = sum(each.micro_usd for each in message.runs)
        message.summary.spent_micro_usd = max(spent, request.spent_micro_usd)
        rate = sum(burn.micro_usd_per_hour for burn in burns)
        ends = exhausted_unix_ns(request.card.budget_micro_usd, spent, rate, now_ns)
        if ends is not None:
            message.exhausted_unix_ns, message.micro_usd_per_hour = ends, rate

    def reads(self, reader: Reader, run_id: str) -> list[Read]:
        """Return the data and models that a run and its steps took from elsewhere."""
        family = family_of(reader, run_id)
        touched = touches.load(reader, self._graph.classes, family)
        sides = touched.inputs(rows.everything(family), ("data", "model"), as_one=True)
        files = [
            Read(file.path, file.digest, file.file_class)
            for file in rows.read_files(reader, touched, sides)
            if file.digest is not None
        ]
        condition, params = among("run_id", family)
        trees = reader.rows(f"{READ_TREES}{condition}", params)
        return [*files, *(Read(path, tree, "data", True) for path, tree in trees)]

    def drift(self, reader: Reader, request: Request, run: RunRow) -> list[str]:
        """Name where a run does other than what was approved."""
        card = request.card
        if run.status == "running":  # which trees it reads is known when it has ended
            card = _without_trees(reader, card)
        reads = self.reads(reader, run.run_id)
        return [*data_drift(card, reads), *code_drift(card, run)]

    def fit(
        self, reader: Reader, request: Request, run: RunRow, *, since_ns: int, theirs: bool
    ) -> int:
        """Return how well a run fits a request, in thousandths."""
        reads = self.reads(reader, run.run_id)
        return fit(request.card, reads, run, since_ns=since_ns, theirs=theirs)


def fits_digest(wanted: str, digest: str) -> bool:
    """Whether a content is the one that a request names by a digest or its begin."""
    if digest.startswith("tree:") != wanted.startswith("tree:") and ":" in wanted:
        return False
    return bool(wanted) and _digits(digest).startswith(_digits(wanted))


def _digits(digest: str) -> str:
    return digest.removeprefix("blake3:").removeprefix("tree:")


def _without_trees(reader: Reader, card: Card) -> Card:
    """Leave out datasets that are trees: with them, all data, for their files are not named."""
    trees = [ref for ref in card.datasets if ref.digest and trees_of(reader, ref.digest)]
    return replace(card, datasets=()) if trees else card


def data_drift(card: Card, reads: Sequence[Read]) -> list[str]:
    """Name approved contents that were not read, and what was read in their place."""
    wanted = [*card.datasets, card.base_model]
    asked = [read for read in reads if any(fits_digest(ref.digest, read.digest) for ref in wanted)]
    folders = tuple(f"{read.path.rstrip('/')}/" for read in asked if read.is_tree)
    # Of an approved tree every file was approved; other trees are told by their files.
    others = [
        read
        for read in reads
        if read not in asked and not read.is_tree and not read.path.startswith(folders or "\0")
    ]
    sentences = []
    for number, ref in enumerate(wanted):
        if not ref.digest or any(fits_digest(ref.digest, read.digest) for read in reads):
            continue
        kind = "dataset" if number < len(card.datasets) else "base model"
        told = _digits(ref.digest)[:SHOWN_DIGITS]
        sentences.append(f"approved {kind} {told}, {_instead(ref, kind, others)}")
    if not sentences and others and any(ref.digest for ref in card.datasets):
        names = ", ".join(_read_words(read) for read in others[:READ_TOLD])
        more = f" and {len(others) - READ_TOLD} more" if len(others) > READ_TOLD else ""
        sentences.append(f"also read {names}{more}, which the request does not name")
    return sentences


def _instead(ref: DataRef, kind: str, others: Sequence[Read]) -> str:
    """Say what was read in place of a content: of the same name before others of its class."""
    name = (ref.uri or ref.name).rstrip("/").rpartition("/")[2]
    wanted_class = "data" if kind == "dataset" else "model"
    fitting = [read for read in others if name and name in read.path]
    fitting = fitting or [read for read in others if read.file_class == wanted_class]
    if not fitting:
        return "not read"
    return f"read {_read_words(fitting[0])}"


def _read_words(read: Read) -> str:
    digits = read.digest.removeprefix("blake3:")[:SHOWN_DIGITS]
    return f"{digits} ({read.path.rpartition('/')[2]})"


def code_drift(card: Card, run: RunRow) -> list[str]:
    """Name a commit other than the approved one, and code that was not as committed."""
    if not card.commit:
        return []
    approved = card.commit[:SHOWN_DIGITS]
    if run.git_commit is None:
        return [f"approved commit {approved}, ran outside of a repository"]
    if not run.git_commit.startswith(card.commit):
        return [f"approved commit {approved}, ran {run.git_commit[:SHOWN_DIGITS]}"]
    if run.git_dirty:
        files = ", ".join(run.git_modified[:READ_TOLD]) or "some files"
        return [f"approved commit {approved}, ran it with changes to {files}"]
    return []


def fit(card: Card, reads: Sequence[Read], run: RunRow, *, since_ns: int, theirs: bool) -> int:
    """Return how well a run fits a card, in thousandths. theirs: the requester's account ran it."""

    def has(ref: DataRef) -> bool:
        return any(fits_digest(ref.digest, read.digest) for read in reads)

    named = [ref for ref in card.datasets if ref.digest]
    score = DATA * sum(map(has, named)) // len(named) if named else 0
    if not card.base_model.digest or has(card.base_model):
        score += MODEL
    if not card.commit or (run.git_commit or "").startswith(card.commit):
        score += COMMIT
    if not card.command or card.command in run.command:
        score += COMMAND
    if theirs:
        score += PERSON
    return score + (WINDOW if run.started_ns >= since_ns else 0)
