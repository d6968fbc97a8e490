"""What `whence request ACT` does: read a card, call, set the answer. Parses no options."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence import render_request
from whence.commands_decisions import DECISIONS
from whence.errors import MisuseError, NotFoundError, RefusedError
from whence.request_client import RequestClient, message_document
from whence.request_form import card_of, merged, read_card, write_card
from whence.request_paths import with_digests
from whence.text import clean, date_text
from whence_proto.v1 import request_pb2 as wire

if TYPE_CHECKING:
    from whence.client import Client
    from whence.desk import Desk
    from whence.model import Run

FOUND, NOT_FOUND, USAGE = 0, 1, 2
APPROVAL_NAMESPACE = "whence.approval"
MOST_INPUT = 1 << 20
_CARD_FLAGS = (
    "title", "rationale", "project", "datasets", "base_model", "repository", "commit", "gpus",
    "gpu_model", "hours", "budget", "reviewers", "on_behalf_of", "expires", "expected_outcome",
    "stop_criteria", "supersedes",
)  # fmt: skip

Act = Callable[[argparse.Namespace, "Desk", RequestClient], int]


def run_request(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Do what the act says."""
    return _ACTS[options.act](options, desk, RequestClient(client, desk.environment))


# Filing ---------------------------------------------------------------------------------------


def _file(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    card = _card(options, desk)
    if options.edit or not card.ListFields():
        card = _in_editor(card, desk, ())
    _fix(card, desk)
    reply = client.file(card, draft=options.draft, key=options.key)
    return _filed(options, desk, reply, "filed", card)


def _check(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    card = _card(options, desk)
    _fix(card, desk)
    reply = client.file(card, only_check=True)
    wrong = _has_errors(reply)
    if options.json:
        desk.hand_over({"ok": not wrong, **message_document(reply)})
    else:
        desk.tell(render_request.finding_lines(desk.page, reply.findings))
        desk.tell(["estimate", *(f"  {x}" for x in render_request.estimate_lines(reply))])
        desk.tell(["it cannot be filed so" if wrong else "it can be filed"])
    return NOT_FOUND if wrong else FOUND


def _edit(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    found = client.get(options.request)
    words = _flags(options, desk)
    if options.file:
        card = read_card(_read(options.file, desk), desk.page.now_unix_ns)
    elif words.ListFields():
        card = merged(found.card, words)
    else:
        card = _in_editor(
            found.card, desk, (f"{found.summary.request_id}: save to write a revision",)
        )
    _fix(card, desk)
    reply = client.edit(found.summary.request_id, card, found.summary.digest)
    return _filed(options, desk, reply, "revised", card)


def _fix(card: wire.Card, desk: Desk) -> None:
    """Give data that is named by a path the digest that it has now."""
    for sentence in with_digests(card):
        desk.remark(sentence)


def _card(options: argparse.Namespace, desk: Desk) -> wire.Card:
    """Return the card of a file, with the flags' fields in the place of its own."""
    words = _flags(options, desk)
    if not options.file:
        return words
    return merged(read_card(_read(options.file, desk), desk.page.now_unix_ns), words)


def _flags(options: argparse.Namespace, desk: Desk) -> wire.Card:
    fields = {name: getattr(options, name) for name in _CARD_FLAGS if getattr(options, name)}
    if options.job:
        fields["command"] = options.job
    if options.enforce:
        fields["enforce"] = {
            "at": options.enforce, "signal": options.checkpoint_signal, "grace": options.grace,
        }  # fmt: skip
    elif options.checkpoint_signal or options.grace:
        raise MisuseError("--checkpoint-signal and --grace go with --enforce: add it")
    return card_of(fields, desk.page.now_unix_ns)


def _read(name: str, desk: Desk) -> str:
    try:
        if name == "-":
            return desk.stdin.read(MOST_INPUT)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(MOST_INPUT)
    except OSError as error:
        raise MisuseError(f"{clean(name)} cannot be read ({error.strerror}): check it") from None
    except UnicodeDecodeError:
        raise MisuseError(f"{clean(name)} is not UTF-8: save it so") from None


def _in_editor(card: wire.Card, desk: Desk, remarks: Sequence[str]) -> wire.Card:
    """Let the user write the card; what was written stays where a mistake stops it."""
    editor = desk.environment.get("VISUAL") or desk.environment.get("EDITOR")
    if not editor:
        raise MisuseError(
            "nothing to file: give flags, a FILE or -, or set EDITOR to write it in an editor"
        )
    handle, name = tempfile.mkstemp(prefix="whence-request-", suffix=".yaml")
    before = write_card(card, remarks)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(before)
    if subprocess.run([*shlex.split(editor), name], check=False).returncode != 0:
        Path(name).unlink(missing_ok=True)
        raise MisuseError(f"{clean(editor)} did not end well: nothing was filed")
    after = Path(name).read_text(encoding="utf-8")
    if after == before:
        Path(name).unlink(missing_ok=True)
        raise MisuseError("nothing was changed: nothing was filed")
    try:
        found = read_card(after, desk.page.now_unix_ns)
    except MisuseError as error:
        raise MisuseError(f"{error} (what you wrote is in {name})") from None
    Path(name).unlink(missing_ok=True)
    return found


def _filed(
    options: argparse.Namespace, desk: Desk, reply: wire.FileReply, verb: str, card: wire.Card
) -> int:
    filed = reply.HasField("request")
    if options.json:
        desk.hand_over({"filed": filed, **message_document(reply)})
    elif filed:
        summary = reply.request.summary
        desk.tell(
            [
                f"{verb} {desk.page.paint(summary.request_id, 'strong')} revision "
                f"{summary.revision}: {clean(summary.title)} · {summary.state}",
                *render_request.finding_lines(desk.page, reply.findings),
                f"estimate {render_request.estimate_lines(reply)[0]}, "
                f"at most {render_request.usd(summary.budget_micro_usd)}; to decide: "
                f"{clean(', '.join(summary.reviewers)) or 'nobody yet'}",
            ]
        )
    else:
        desk.tell(render_request.finding_lines(desk.page, reply.findings))
        kept = _keep(card)
        desk.remark(f"nothing was filed: correct the fields marked ✗ (what you gave is in {kept})")
    return FOUND if filed else USAGE


def _keep(card: wire.Card) -> str:
    handle, name = tempfile.mkstemp(prefix="whence-request-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(write_card(card))
    return name


def _has_errors(reply: wire.FileReply) -> bool:
    return any(each.severity == "error" for each in reply.findings)


# Looking --------------------------------------------------------------------------------------


def _list(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    reply = client.list(
        mine=options.mine,
        to_review=options.to_review,
        queued=options.queued,
        states=options.states,
        project=options.project,
        limit=options.limit,
    )
    if options.json:
        desk.hand_over(message_document(reply))
    else:
        desk.tell(render_request.list_lines(desk.page, reply))
    return FOUND


def _show(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    return _tell(options, desk, client.get(options.request))


def _tell(options: argparse.Namespace, desk: Desk, detail: wire.RequestDetail) -> int:
    if options.json:
        desk.hand_over(message_document(detail))
    else:
        desk.tell(render_request.detail_lines(desk.page, detail))
    return FOUND


def _watch(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    if options.request:
        options.request = client.get(options.request).summary.request_id
    if options.until and options.request and _stands(client, options):
        return FOUND
    for entry in client.watch(options.request, history=options.history):
        if options.json:
            desk.out.write(_line(entry))
        else:
            desk.tell([render_request.timeline_line(desk.page, entry)])
        desk.out.flush()
        if options.until and options.request and _stands(client, options):
            return FOUND
    return FOUND


def _line(entry: wire.TimelineEntry) -> str:
    import json  # noqa: PLC0415  only here

    return json.dumps(message_document(entry)) + "\n"


def _stands(client: RequestClient, options: argparse.Namespace) -> bool:
    return bool(client.get(options.request).summary.state == options.until)


def _whoami(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    found = client.who_am_i()
    if options.json:
        desk.hand_over(message_document(found))
    elif not found.name:
        desk.tell(["nobody: no daemon of this host vouches for you, and WHENCE_TOKEN is not set"])
    else:
        owner = f" of {clean(found.owner)}" if found.owner else ""
        desk.tell([f"{clean(found.name)}, {found.kind}{owner}: {', '.join(found.roles)}"])
        desk.tell([f"may not decide: {clean(found.doubt)}"] if found.doubt else [])
    return FOUND if found.name else NOT_FOUND


def _people(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    people, policy = client.principals().principals, client.policy().policy
    if options.json:
        rules: Mapping[str, Any] = message_document(policy)
        desk.hand_over({"principals": [message_document(x) for x in people], "policy": rules})
    else:
        desk.tell(render_request.people_lines(desk.page, people, policy))
    return FOUND


def names_request(text: str) -> bool:
    """Whether a text names a request ("R-12"), and nothing that lies there is called so."""
    return re.fullmatch(r"[Rr]-[0-9]{1,9}", text) is not None and not os.path.lexists(text)


def show(request: str, options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell everything of one request."""
    return _tell(options, desk, RequestClient(client, desk.environment).get(request))


def beside_request(run: Run, desk: Desk, client: Client) -> list[str]:
    """Return what was agreed beside what the run did."""
    detail = RequestClient(client, desk.environment).get(run.request_id or "")
    return render_request.beside_lines(desk.page, detail, run.run_id)


# Deciding -------------------------------------------------------------------------------------


def _verdict(verdict: str) -> Act:
    def decide(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
        found = client.get(options.request)
        digest = options.digest or found.summary.digest
        signature = sign(found.approval_text, options.sign) if getattr(options, "sign", "") else ""
        detail = client.review(found.summary.request_id, verdict, digest, options.reason, signature)
        return _moved(options, desk, detail)

    return decide


def sign(text: str, key: str) -> str:
    """Return the SSH signature of an approval's text. Raises RefusedError with the reason."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f", key]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RefusedError("signing takes ssh-keygen: install openssh-client") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RefusedError(f"{key} cannot sign ({clean(reason)}): give an SSH key of yours")
    return done.stdout


def _review(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    found = client.get(options.request)
    desk.tell(render_request.detail_lines(desk.page, found))
    verdicts = {"a": "approve", "r": "reject", "c": "changes"}
    desk.err.write("[a]pprove, [r]eject, ask for [c]hanges, or leave it [enter]: ")
    desk.err.flush()
    verdict = verdicts.get(desk.stdin.readline().strip().lower()[:1])
    if verdict is None:
        desk.remark("left as it is")
        return FOUND
    options.digest = found.summary.digest
    if not options.reason and verdict != "approve":
        desk.err.write("why: ")
        desk.err.flush()
        options.reason = desk.stdin.readline().strip()
    return _verdict(verdict)(options, desk, client)


def _comment(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    text = desk.stdin.read(MOST_INPUT) if options.text == "-" else options.text
    found = client.get(options.request)
    client.comment(found.summary.request_id, text)
    return _moved(options, desk, client.get(options.request))


def _claim(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    reply = client.claim(options.request, desk.host if options.host is None else options.host)
    if options.json:
        desk.hand_over(message_document(reply))
    else:
        desk.tell([f"export WHENCE_CLAIM={reply.claim_id}"])
        desk.remark(
            f"{reply.request.summary.request_id} is yours; without a run the claim lapses at "
            f"{date_text(reply.until_unix_ns)}"
        )
    return FOUND


def _move(move: str) -> Act:
    def act(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
        reason = getattr(options, "reason", "")
        return _moved(options, desk, client.move(options.request, move, reason))

    return act


def _link(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    return _moved(options, desk, client.link_run(options.request, options.run, options.reason))


def _moved(options: argparse.Namespace, desk: Desk, detail: wire.RequestDetail) -> int:
    if options.json:
        desk.hand_over(message_document(detail))
        return FOUND
    if not detail.timeline:
        raise NotFoundError(f"{options.request} has no history: see the collector's log")
    desk.tell([render_request.timeline_line(desk.page, detail.timeline[-1])])
    desk.tell([f"{detail.summary.request_id} is {detail.summary.state}"])
    return FOUND


_ACTS: Mapping[str, Act] = {
    "file": _file,
    "check": _check,
    "edit": _edit,
    "list": _list,
    "show": _show,
    "watch": _watch,
    "whoami": _whoami,
    "people": _people,
    "review": _review,
    "approve": _verdict("approve"),
    "reject": _verdict("reject"),
    "changes": _verdict("changes"),
    "withdraw": _verdict("withdraw"),
    "comment": _comment,
    "claim": _claim,
    "submit": _move("submit"),
    "release": _move("release"),
    "cancel": _move("cancel"),
    "link": _link,
}
RUNS = {"request": run_request, **DECISIONS}
