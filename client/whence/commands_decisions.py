"""`whence why`, `note`, `run`, `audit` and `mcp`: what was decided, kept with the work."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence import render_request
from whence.audit_check import Head, Line, verify
from whence.content import as_digest, hash_file
from whence.errors import MisuseError, NotFoundError, RefusedError
from whence.request_client import RequestClient, message_document
from whence.signed_head import NAMESPACE as AUDIT_NAMESPACE
from whence.signed_head import signed_head
from whence.text import clean

if TYPE_CHECKING:
    from whence.client import Client
    from whence.desk import Desk

FOUND, NOT_FOUND = 0, 1
MOST_INPUT = 1 << 20


def _target(text: str) -> str:
    """Return the digest of a file that is there, else the digest or run that a text names."""
    if os.path.lexists(text):
        return hash_file(text, None).digest
    return as_digest(text) or text if text.startswith("blake3:") else text


def run_why(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Tell what was decided along the lineage."""
    reply = RequestClient(client, desk.environment).why(_target(options.what))
    if options.json:
        desk.hand_over(message_document(reply))
    else:
        desk.tell(render_request.why_lines(desk.page, reply))
    decided = reply.notes or any(step.HasField("request") or step.notes for step in reply.steps)
    return FOUND if decided else NOT_FOUND


def run_note(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Add a note to a run or content."""
    text = desk.stdin.read(MOST_INPUT) if options.text == "-" else options.text
    reply = RequestClient(client, desk.environment).comment(_target(options.what), text)
    if options.json:
        desk.hand_over(message_document(reply))
    else:
        desk.tell([f"noted on {reply.target}"])
    return FOUND


def run_run(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Become a command that runs for a request; the request is claimed where it is not yet."""
    job = options.job[1:] if options.job[:1] == ["--"] else options.job
    if not job:
        raise MisuseError("no command: write `whence run --request R-12 -- COMMAND`")
    reply = RequestClient(client, desk.environment).claim(options.request, desk.host)
    desk.remark(f"{reply.request.summary.request_id} is claimed: {reply.claim_id}")
    desk.out.flush()
    desk.err.flush()
    environment = {
        **desk.environment,
        "WHENCE_CLAIM": reply.claim_id,
        "WHENCE_REQUEST": reply.request.summary.request_id,
    }
    try:
        os.execvpe(job[0], job, environment)  # noqa: S606 -- it is what was asked for
    except OSError as error:
        raise MisuseError(f"{clean(job[0])} cannot be run ({error.strerror}): check it") from None


# The chain ------------------------------------------------------------------------------------


def run_audit(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Verify, export, or name the head of the chain."""
    acts: Mapping[str, Callable[[argparse.Namespace, Desk, RequestClient], int]] = {
        "verify": _verify,
        "export": _export,
        "head": _head,
    }
    return acts[options.act](options, desk, RequestClient(client, desk.environment))


def _verify(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    signer, head = "", options.head
    if options.signed:
        if not options.signers or options.head:
            raise MisuseError("--signed FILE goes with --signers FILE, and in the place of --head")
        head, signer = signed_head(options.signed, options.signers)
    lines = _exported(options.file) if options.file else _asked(client)
    verdict = verify(lines, _expected(head))
    # A collector's tables are what SQL and people read: they must say what the chain says.
    tables = None if options.file or verdict.fault else client.check_tables()
    faults = list(tables.faults) if tables is not None else []
    whole = not verdict.fault and not faults
    if options.json:
        desk.hand_over(
            {
                "ok": whole,
                "records": verdict.head.number,
                "head": verdict.head.sha256,
                "fault": verdict.fault or None,
                "signed_by": signer or None,
                "table_rows": tables.rows if tables is not None else None,
                "table_faults": faults,
            }
        )
        return FOUND if whole else NOT_FOUND
    if verdict.fault:
        desk.tell([desk.page.paint(f"broken: {verdict.fault}", "bad")])
        desk.tell([f"records 1 to {verdict.head.number} are as they were written"])
    else:
        desk.tell([f"whole: {verdict.head.number} records", f"head   {verdict.head.sha256}"])
    if signer:
        desk.tell([f"signed {clean(signer)}, and the chain still holds that head"] * whole)
    desk.tell([desk.page.paint(clean(fault), "bad") for fault in faults])
    if tables is not None and not faults:
        desk.tell([f"tables {tables.rows} rows say what the records say"])
    return FOUND if whole else NOT_FOUND


def _expected(text: str | None) -> Head | None:
    if not text:
        return None
    number, _, sha256 = text.partition(":")
    if not number.isdigit() or len(sha256) != 64:
        raise MisuseError(f"--head {text!r} is no head: `whence audit head` prints one")
    return Head(int(number), sha256)


def _asked(client: RequestClient) -> Iterator[Line]:
    for record in client.audit():
        yield message_document(record)


def _exported(name: str) -> Iterator[Line]:
    try:
        with Path(name).open(encoding="utf-8") as lines:
            for line in lines:
                found = json.loads(line)
                yield found if isinstance(found, dict) else {}
    except OSError as error:
        raise MisuseError(f"{clean(name)} cannot be read ({error.strerror}): check it") from None
    except ValueError:
        raise MisuseError(f"{clean(name)} is no export: `whence audit export` writes one") from None


def _export(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    for record in client.audit(options.after):
        desk.out.write(json.dumps(message_document(record), sort_keys=True) + "\n")
    return FOUND


def _head(options: argparse.Namespace, desk: Desk, client: RequestClient) -> int:
    verdict = verify(_asked(client), None)
    if verdict.fault:
        raise RefusedError(f"the chain is broken ({verdict.fault}): nothing is signed")
    text = f"{verdict.head.number}:{verdict.head.sha256}"
    signature = _signed(text, options.sign) if options.sign else None
    if options.json:
        head: dict[str, Any] = {"records": verdict.head.number, "head": verdict.head.sha256}
        desk.hand_over(head | {"text": text, "signature": signature})
    else:
        desk.tell([text])
        desk.out.write(signature or "")
    return FOUND


def _signed(text: str, key: str) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", AUDIT_NAMESPACE, "-f", key]
    try:
        done = subprocess.run(
            command, input=f"{text}\n", capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise RefusedError("signing takes ssh-keygen: install openssh-client") from None
    if done.returncode != 0:
        raise RefusedError(f"{key} cannot sign: give an SSH key of yours")
    return done.stdout


def run_mcp(options: argparse.Namespace, desk: Desk, client: Client) -> int:
    """Serve agents until they hang up."""
    try:
        from whence.mcp_server import serve  # noqa: PLC0415  an extra that few install
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "mcp":
            raise
        raise NotFoundError("the package mcp is not here: pip install 'whence[mcp]'") from None
    serve(client, options.http, desk.environment)
    return FOUND


DECISIONS = {
    "why": run_why,
    "note": run_note,
    "run": run_run,
    "audit": run_audit,
    "mcp": run_mcp,
}
