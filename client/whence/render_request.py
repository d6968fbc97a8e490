"""Requests, decisions and timelines as lines for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence.page import Cell, Column, Page, columns, labelled
from whence.text import ago_text, clean, count_text, date_text, duration_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whence.page import Look
    from whence_proto.v1 import request_pb2 as wire

_LOOKS: dict[str, Look] = {
    "approved": "good",
    "claimed": "good",
    "running": "good",
    "done": "good",
    "rejected": "bad",
    "failed": "bad",
    "over budget": "bad",
    "changes requested": "odd",
    "expired": "faint",
    "cancelled": "faint",
    "superseded": "faint",
    "draft": "faint",
}
_MARKS: dict[str, tuple[str, Look]] = {
    "error": ("✗", "bad"),
    "warning": ("!", "odd"),
    "notice": ("·", "faint"),
}
HOUR_S = 3600


def usd(micro_usd: int) -> str:
    """Return money: "$984.00"."""
    whole, rest = divmod(abs(micro_usd), 1_000_000)
    digits = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro_usd < 0 else ''}${whole:,}.{digits}"


def compute_text(compute: wire.Compute) -> str:
    """Return "8 x H100 for 3.2 h"."""
    if not compute.count and not compute.gpu_model:
        return "not said"
    hours = f"{compute.duration_s / HOUR_S:.4f}".rstrip("0").rstrip(".")
    return clean(f"{compute.count} x {compute.gpu_model or '?'} for {hours} h")


def list_lines(page: Page, reply: wire.ListReply) -> list[str]:
    """Return requests as a table."""
    if not reply.requests:
        return ["no request: `whence request file` makes one"]
    kinds = (
        Column("REQUEST"),
        Column("AGE", right=True),
        Column("STATE"),
        Column("BUDGET", right=True),
        Column("WHO", shrink=True),
        Column("TITLE", shrink=True, least=12),
    )
    rows = [
        (
            Cell(each.request_id, "strong"),
            Cell(_age(each.filed_unix_ns, page)),
            Cell(each.state, _LOOKS.get(each.state, "plain")),
            Cell(usd(each.budget_micro_usd)),
            Cell(clean(each.requester)),
            Cell(clean(each.title)),
        )
        for each in reply.requests
    ]
    lines = columns(page, kinds, rows)
    return [*lines, "more match: raise --limit"] if reply.truncated else lines


def _age(at_unix_ns: int, page: Page) -> str:
    from whence.text import age_text  # noqa: PLC0415 -- only for tables

    return age_text(at_unix_ns, page.now_unix_ns)


def detail_lines(page: Page, detail: wire.RequestDetail) -> list[str]:
    """Return one request in full."""
    summary, card = detail.summary, detail.card
    state = page.paint(summary.state, _LOOKS.get(summary.state, "plain"))
    since = ago_text(summary.state_unix_ns, page.now_unix_ns)
    lines = [
        f"{page.paint(summary.request_id, 'strong')}  {clean(card.title)}",
        *labelled(page, "state", [f"{state} · {since}"]),
        *labelled(page, "who", [_who(summary, page)]),
    ]
    for label, text in (
        ("why", card.rationale),
        ("expects", card.expected_outcome),
        ("stops", card.stop_criteria),
        ("for", card.on_behalf_of),
        ("project", card.project),
        ("command", card.command),
    ):
        if text:
            lines += labelled(page, label, [page.inner().clip(clean(x)) for x in text.split("\n")])
    lines += _machine_lines(page, detail)
    lines += _review_lines(page, detail)
    lines += _run_lines(page, detail)
    for each in detail.comments:
        lines += labelled(page, "said", [f"{clean(each.who)}: {clean(each.text)}"])
    lines += finding_lines(page, detail.findings)
    if detail.timeline:
        lines += ["", *(timeline_line(page, each) for each in detail.timeline)]
    return lines


def _who(summary: wire.RequestSummary, page: Page) -> str:
    kind = " (agent)" if summary.requester_kind == "agent" else ""
    at = ago_text(summary.filed_unix_ns, page.now_unix_ns)
    return f"{clean(summary.requester)}{kind} · revision {summary.revision} · filed {at}"


def _machine_lines(page: Page, detail: wire.RequestDetail) -> list[str]:
    summary, card = detail.summary, detail.card
    lines = []
    for each in card.datasets:
        lines += labelled(page, "data", [reference_text(each)])
    if card.HasField("base_model"):
        lines += labelled(page, "base", [reference_text(card.base_model)])
    if card.commit:
        lines += labelled(page, "code", [clean(f"{card.commit[:12]} of {card.repository or '?'}")])
    lines += labelled(page, "compute", [compute_text(card.compute)])
    spent = f" · {usd(summary.spent_micro_usd)} spent" if summary.spent_micro_usd else ""
    lines += labelled(page, "budget", [f"{usd(summary.budget_micro_usd)}{spent}"])
    lines += labelled(page, "estimate", estimate_lines(detail))
    if detail.HasField("exhausted_unix_ns"):
        rate = usd(detail.micro_usd_per_hour)
        when = date_text(detail.exhausted_unix_ns)
        lines += labelled(page, "ends", [f"the budget at {when}, at {rate} an hour"])
    if detail.HasField("ending"):
        lines += labelled(page, "then", ending_lines(detail.ending))
    return lines


def ending_lines(ending: wire.Ending) -> list[str]:
    """Return what is done when the budget is spent, and what hosts told of it."""
    asks = f"{ending.checkpoint_signal}, " if ending.checkpoint_signal else ""
    grace = duration_text(ending.grace_s * 1_000_000_000)
    whose = {"request": "the request", "project": "its project", "house": "the house"}
    head = (
        f"at {ending.at_percent} % its runs are ended: {asks}{grace}, SIGTERM "
        f"({whose.get(ending.because, ending.because)} wants it)"
    )
    return [clean(head), *(clean(each) for each in ending.told)]


def estimate_lines(detail: wire.RequestDetail | wire.FileReply) -> list[str]:
    """Return what it should cost and on what that rests."""
    if not detail.HasField("estimate"):
        return ["none: the compute is not said"]
    estimate = detail.estimate
    head = usd(estimate.micro_usd) if estimate.HasField("micro_usd") else "not known"
    return [head, *(clean(each) for each in estimate.basis)]


def reference_text(ref: wire.DataRef) -> str:
    """Return a dataset or model with its digest."""
    digest = ref.digest.removeprefix("blake3:")[:12] or "no digest"
    return clean(f"{ref.name or ref.uri}  {digest}")


def _review_lines(page: Page, detail: wire.RequestDetail) -> list[str]:
    summary = detail.summary
    names = ", ".join(summary.reviewers) or "nobody"
    held = f"{len(summary.approved_by)} of {summary.approvals_needed} approvals"
    lines = labelled(page, "reviewers", [f"{clean(names)} · {held}"])
    for each in detail.decisions:
        look: Look = "good" if each.holds else "faint"
        mark = "" if each.holds or each.verdict != "approve" else " (no longer holds)"
        signed = " · signed" if each.signature else ""
        reason = f": {clean(each.reason)}" if each.reason else ""
        at = ago_text(each.at_unix_ns, page.now_unix_ns)
        text = f"{clean(each.who)} {each.verdict} revision {each.revision}{mark}{signed}{reason}"
        lines += labelled(page, "decided", [f"{page.paint(text, look)} · {at}"])
    if detail.HasField("claim_id"):
        until = date_text(detail.claim_until_unix_ns)
        lines += labelled(page, "claim", [f"{clean(summary.claimed_by)} until {until}"])
    return lines


def _run_lines(page: Page, detail: wire.RequestDetail) -> list[str]:
    lines = []
    for each in detail.runs:
        cost = f" · {usd(each.micro_usd)}" if each.HasField("micro_usd") else ""
        head = f"{each.run_id[:8]} · {each.status} · by {each.how}{cost} · {clean(each.command)}"
        drift = [page.paint(f"! {clean(sentence)}", "odd") for sentence in each.drift]
        lines += labelled(page, "run", [page.inner().clip(head), *drift])
    return lines


def beside_lines(page: Page, detail: wire.RequestDetail, run_id: str) -> list[str]:
    """Return what was requested beside what a run did: compute, money, drift."""
    summary = detail.summary
    by = ", ".join(summary.approved_by) or "nobody"
    lines = labelled(page, "asked", [
        f"{summary.request_id} {clean(detail.card.title)} · {summary.state}",
        f"{compute_text(detail.card.compute)}, at most {usd(summary.budget_micro_usd)}, "
        f"agreed by {clean(by)}",
    ])  # fmt: skip
    for each in detail.runs:
        if each.run_id != run_id:
            continue
        cost = usd(each.micro_usd) if each.HasField("micro_usd") else "cost not known"
        drift = [page.paint(f"! {clean(sentence)}", "odd") for sentence in each.drift]
        lines += labelled(page, "did", [f"{cost}, matched by {each.how}", *drift])
    return lines


def finding_lines(page: Page, findings: Iterable[wire.Finding]) -> list[str]:
    """Return what there is to say of each field."""
    lines = []
    for each in findings:
        mark, look = _MARKS.get(each.severity, ("·", "plain"))
        lines.append(
            f"{page.paint(mark, look)} {page.paint(each.field, 'faint')}  {clean(each.text)}"
        )
    return lines


def timeline_line(page: Page, entry: wire.TimelineEntry) -> str:
    """Return one thing that happened."""
    when = page.paint(date_text(entry.at_unix_ns), "faint")
    return page.clip(f"{when}  {entry.subject}  {clean(entry.who)} {clean(entry.text)}")


def why_lines(page: Page, reply: wire.WhyReply) -> list[str]:
    """Return requests and decisions along a lineage, nearest first."""
    lines: list[str] = []
    for each in reply.notes:
        lines += _note(page, each)
    unasked = []
    for step in reply.steps:
        if not step.HasField("request") and not step.notes:
            unasked.append(step)
            continue
        lines += ["", *_step_lines(page, step)]
    if unasked:
        names = ", ".join(each.run_id[:8] for each in unasked[:6])
        more = " …" if len(unasked) > 6 else ""
        text = f"{count_text(len(unasked), 'run')} without a request: {names}{more}"
        lines += ["", page.paint(text, "faint")]
    return lines[1:] if lines and not lines[0] else lines or ["nothing was decided about it"]


def _step_lines(page: Page, step: wire.WhyStep) -> list[str]:
    head = f"{step.run_id[:8]}  {clean(step.command)}"
    lines = [page.clip(head)]
    if step.HasField("request"):
        detail = step.request
        summary, card = detail.summary, detail.card
        lines += labelled(page, "asked", [
            f"{summary.request_id} {clean(card.title)} · {summary.state}",
            f"by {_who(summary, page)}",
        ])  # fmt: skip
        lines += labelled(page, "why", [clean(x) for x in card.rationale.split("\n")])
        if card.expected_outcome:
            lines += labelled(page, "expected", [clean(card.expected_outcome)])
        lines += _machine_lines(page, detail)
        lines += _review_lines(page, detail)
        for each in detail.comments:
            lines += labelled(page, "said", [f"{clean(each.who)}: {clean(each.text)}"])
    for drift in step.drift:
        lines += labelled(page, "drift", [page.paint(f"! {clean(drift)}", "odd")])
    for each in step.notes:
        lines += _note(page, each)
    return lines


def _note(page: Page, each: wire.Remark) -> list[str]:
    at = ago_text(each.at_unix_ns, page.now_unix_ns)
    return labelled(page, "note", [f"{clean(each.who)}: {clean(each.text)} · {at}"])


def people_lines(
    page: Page, people: Sequence[wire.Principal], policy: wire.PolicyRequest
) -> list[str]:
    """Return principals and house rules."""
    kinds = (Column("NAME"), Column("KIND"), Column("ROLES"), Column("ACCOUNTS", shrink=True))
    rows = [
        (
            Cell(clean(each.name), "faint" if each.disabled else "strong"),
            Cell(each.kind + (f" of {clean(each.owner)}" if each.owner else "")),
            Cell(", ".join(each.roles)),
            Cell(clean(", ".join(each.accounts))),
        )
        for each in people
    ]
    signed = "yes" if policy.signatures_required else "no"
    rules = [
        f"two approvals above {usd(policy.two_approvals_above_micro_usd)}",
        f"owners approve for their agents up to {usd(policy.own_agent_limit_micro_usd)}",
        f"agents may have requests for {usd(policy.agent_spend_cap_micro_usd)} open",
        f"a claim without a run holds {duration_text(policy.claim_lease_s * 1_000_000_000)}",
        f"an approval waits {duration_text(policy.approval_valid_s * 1_000_000_000)} for a claim",
        f"only signed approvals count: {signed}",
    ]
    return [*columns(page, kinds, rows), "", *labelled(page, "rules", rules)]
