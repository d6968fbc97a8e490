"""Agents' way in: requests, lineage and money as tools of the Model Context Protocol.

No tool decides on a request, and none could: the collector sees that an agent asks. Each error says
what to do next. Needs the package mcp (whence[mcp]).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from whence.client import Client
from whence.content import as_digest
from whence.errors import NotFoundError, WhenceError
from whence.model import document
from whence.request_client import RequestClient, message_document
from whence.request_form import card_of, merged
from whence_proto.v1 import request_pb2 as wire

INSTRUCTIONS = """\
Before you spend GPU time, file a training request and wait for a person to approve it.
1. check_request: see what is missing, what it should cost, and whether it ran before.
2. file_request: name the reviewers (list_people tells who can decide).
3. follow_request until it is approved; amend_request when changes are asked for.
4. claim_request, then run the command with WHENCE_CLAIM set to the claim_id that comes back.
You cannot approve, and must not ask a person to type an approval for you unread."""
FOLLOW_S = 50.0
NEXT = {
    "draft": "submit it: amend_request with submit=true",
    "filed": "wait: follow_request tells when a reviewer decides",
    "changes requested": "read the comments, then amend_request",
    "approved": "claim_request, then run with WHENCE_CLAIM set",
    "claimed": "run the command with WHENCE_CLAIM set, before the claim lapses",
    "running": "nothing: it runs",
    "rejected": "read the reason; file another request if it answers it",
    "expired": "file it again with supersedes",
}

Title = Annotated[str, Field(description="What is to be trained, in one line")]
Rationale = Annotated[str, Field(description="Why, and which decision it informs")]
Datasets = Annotated[
    list[str],
    Field(
        description="What it reads, each as NAME_OR_URI@DIGEST",
        examples=[["s3://corp/support-tickets-2026q2@ad9c125"]],
    ),
]
BaseModel = Annotated[
    str, Field(description="What it starts from, as NAME@DIGEST", examples=["base_v4@7c3a8de"])
]
Gpus = Annotated[int, Field(description="GPUs at a time", ge=0, examples=[8])]
GpuModel = Annotated[str, Field(description="GPU model", examples=["H100"])]
Hours = Annotated[str, Field(description="For how long, in hours", examples=["3.2"])]
Budget = Annotated[
    str, Field(description="The most that it may cost, in USD; never exceeded", examples=["984.00"])
]
Reviewers = Annotated[list[str], Field(description="People who are to decide; see list_people")]
RequestId = Annotated[str, Field(description="The request", examples=["R-12"])]
Target = Annotated[
    str, Field(description="A run id, or a content as blake3:… or 6 digits or more of it")
]


@dataclass(frozen=True, slots=True)
class Way:
    """How tools reach the collector: its address, and what they show of who calls."""

    address: str
    environment: Mapping[str, str]
    by_token: bool  # over HTTP each caller shows a token of its own

    @contextmanager
    def open(self, context: Context[Any, Any]) -> Iterator[tuple[Client, RequestClient]]:
        """Give both clients for one call; what a user can act on becomes an answer that says so."""
        try:
            with Client(self.address) as client:
                yield client, RequestClient(client, self._shown(context))
        except WhenceError as error:
            raise ToolError(f"{error}. {_remedy(error)}") from None

    def _shown(self, context: Context[Any, Any]) -> Mapping[str, str]:
        if not self.by_token:
            return self.environment
        request = context.request_context.request
        header = request.headers.get("authorization", "") if request is not None else ""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ToolError(
                "Show who you are: set the header Authorization: Bearer TOKEN. An administrator "
                "makes one with whence-collector token add."
            )
        return {**self.environment, "WHENCE_TOKEN": token.strip()}


def _remedy(error: WhenceError) -> str:
    if isinstance(error, NotFoundError):
        return "Next: list_requests or lineage show what there is."
    if error.exit_code == 3:
        return "Next: try again in a minute; nothing was changed."
    return "Next: get_request shows how it stands and who can decide."


def serve(client: Client, http: str | None, environment: Mapping[str, str]) -> None:
    """Serve until the agent hangs up (stdio), or for ever (streamable HTTP at /mcp)."""
    server = build(Way(client.address, environment, by_token=http is not None))
    if http is None:
        server.run("stdio")
        return
    host, _, port = http.rpartition(":")
    server.run("streamable-http", host=host or "127.0.0.1", port=int(port))


def build(way: Way) -> MCPServer[Any]:
    """Return the server with all of its tools."""
    server: MCPServer[Any] = MCPServer("whence", instructions=INSTRUCTIONS)
    _add_filing(server, way)
    _add_amending(server, way)
    _add_following(server, way)
    _add_looking(server, way)
    return server


# Filing ---------------------------------------------------------------------------------------


def _add_filing(server: MCPServer[Any], way: Way) -> None:
    @server.tool()
    def check_request(  # noqa: PLR0913  the fields of a request
        ctx: Context[Any, Any],
        *,
        title: Title = "",
        rationale: Rationale = "",
        datasets: Datasets = [],  # noqa: B006  pydantic copies it
        base_model: BaseModel = "",
        gpus: Gpus = 0,
        gpu_model: GpuModel = "",
        hours: Hours = "",
        budget_usd: Budget = "",
        reviewers: Reviewers = [],  # noqa: B006  pydantic copies it
        more: dict[str, Any] = {},  # noqa: B006  pydantic copies it
    ) -> dict[str, Any]:
        """Check a request field by field and estimate its cost; files nothing.

        Shows what is missing or unknown, requests that asked for the same, and data that overlaps
        a test set. more: project, repository, commit, command, expected_outcome, stop_criteria,
        expires ("7d"), on_behalf_of, supersedes, labels.
        """
        fields = _fields(locals())
        with way.open(ctx) as (_, requests):
            return _filed(requests.file(card_of(fields, time.time_ns()), only_check=True))

    @server.tool()
    def file_request(  # noqa: PLR0913  the fields of a request
        ctx: Context[Any, Any],
        *,
        title: Title,
        rationale: Rationale,
        gpus: Gpus,
        gpu_model: GpuModel,
        hours: Hours,
        budget_usd: Budget,
        reviewers: Reviewers,
        datasets: Datasets = [],  # noqa: B006  pydantic copies it
        base_model: BaseModel = "",
        more: dict[str, Any] = {},  # noqa: B006  pydantic copies it
        draft: bool = False,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        """File a training request. Where a field is wrong nothing is filed and each is named.

        more: as in check_request. The same idempotency_key again returns the same request.
        """
        fields = _fields(locals())
        with way.open(ctx) as (_, requests):
            card = card_of(fields, time.time_ns())
            return _filed(requests.file(card, draft=draft, key=idempotency_key))


def _add_amending(server: MCPServer[Any], way: Way) -> None:
    @server.tool()
    def amend_request(
        ctx: Context[Any, Any],
        request_id: RequestId,
        changes: Annotated[
            dict[str, Any],
            Field(
                description="Fields by name, as in file_request and its `more`",
                examples=[{"hours": "2.5", "budget": "700.00"}],
            ),
        ] = {},  # noqa: B006  pydantic copies it
        submit: bool = False,
        cancel: bool = False,
        reason: str = "",
    ) -> dict[str, Any]:
        """Change fields (all but a lower budget voids approvals), submit a draft, or cancel."""
        with way.open(ctx) as (_, requests):
            reply = None
            if changes:
                found = requests.get(request_id)
                card = merged(found.card, card_of(_renamed(changes), time.time_ns()))
                reply = requests.edit(request_id, card, found.summary.digest)
            if submit:
                return _told(requests.move(request_id, "submit", reason))
            if cancel:
                return _told(requests.move(request_id, "cancel", reason))
            if reply is None:
                raise ToolError("Nothing to do: give changes, submit=true or cancel=true.")
            return _filed(reply)


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    skipped = ("ctx", "server", "way", "more", "draft", "idempotency_key")
    fields = {k: v for k, v in given.items() if k not in skipped and v not in ("", [], 0)}
    return _renamed({**fields, **given.get("more", {})})


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {("budget" if name == "budget_usd" else name): v for name, v in fields.items()}


def _filed(reply: wire.FileReply) -> dict[str, Any]:
    """Return what became of a filing, with what to do next."""
    errors = [each.text for each in reply.findings if each.severity == "error"]
    told: dict[str, Any] = {
        "filed": reply.HasField("request"),
        "findings": [message_document(each) for each in reply.findings],
        "estimate": message_document(reply.estimate) if reply.HasField("estimate") else None,
        "next": "correct the fields whose severity is error, then try again"
        if errors
        else "file_request files it",
    }
    if reply.HasField("request"):
        told |= _told(reply.request)
    return told


def _told(detail: wire.RequestDetail) -> dict[str, Any]:
    summary = detail.summary
    return {
        "request_id": summary.request_id,
        "state": summary.state,
        "request": message_document(detail),
        "next": NEXT.get(summary.state, "nothing: it has ended"),
    }


# Following ------------------------------------------------------------------------------------


def _add_following(server: MCPServer[Any], way: Way) -> None:
    @server.tool()
    def get_request(ctx: Context[Any, Any], request_id: RequestId) -> dict[str, Any]:
        """Show one request: decisions, comments, runs with drift, money, and what to do next."""
        with way.open(ctx) as (_, requests):
            return _told(requests.get(request_id))

    @server.tool()
    def list_requests(
        ctx: Context[Any, Any],
        which: Literal["mine", "queued", "all"] = "mine",
        project: str = "",
        limit: int = 20,
    ) -> dict[str, Any]:
        """List requests, newest first: yours and your owner's, those free to claim, or all."""
        with way.open(ctx) as (_, requests):
            reply = requests.list(
                mine=which == "mine", queued=which == "queued", project=project, limit=limit
            )
            return message_document(reply)

    @server.tool()
    def follow_request(
        ctx: Context[Any, Any], request_id: RequestId, seconds: float = 30.0
    ) -> dict[str, Any]:
        """Wait until a request stands otherwise than now, at most 50 seconds; call it again."""
        with way.open(ctx) as (_, requests):
            detail = requests.get(request_id)
            before, end = detail.summary.state, time.monotonic() + min(seconds, FOLLOW_S)
            while detail.summary.state == before and time.monotonic() < end:
                time.sleep(0.5)
                detail = requests.get(request_id)
            return {"changed": detail.summary.state != before, **_told(detail)}

    @server.tool()
    def comment(ctx: Context[Any, Any], target: str, text: str) -> dict[str, Any]:
        """Say something about a request ("R-12"), or add a note to a run or content."""
        with way.open(ctx) as (_, requests):
            return message_document(requests.comment(target, text))

    @server.tool()
    def claim_request(
        ctx: Context[Any, Any], request_id: RequestId, host: str = ""
    ) -> dict[str, Any]:
        """Take an approved request in hand; run the command with WHENCE_CLAIM=claim_id."""
        with way.open(ctx) as (_, requests):
            reply = requests.claim(request_id, host)
            claimed = {"claim_id": reply.claim_id, "until_unix_ns": reply.until_unix_ns}
            return (
                claimed | {"environment": {"WHENCE_CLAIM": reply.claim_id}} | _told(reply.request)
            )

    @server.tool()
    def list_people(ctx: Context[Any, Any]) -> dict[str, Any]:
        """List who there is, who can decide, and who you are to whence."""
        with way.open(ctx) as (_, requests):
            people = [message_document(each) for each in requests.principals().principals]
            deciding = [p["name"] for p in people if "approver" in p["roles"]]
            you = message_document(requests.who_am_i())
            return {"you": you, "reviewers": deciding, "people": people}


# Looking --------------------------------------------------------------------------------------


def _add_looking(server: MCPServer[Any], way: Way) -> None:
    def looked(ctx: Context[Any, Any], ask: Callable[[Client], Any]) -> dict[str, Any]:
        with way.open(ctx) as (client, _):
            found = document(ask(client))
        return found if isinstance(found, dict) else {"answer": found}

    @server.tool()
    def why(ctx: Context[Any, Any], target: Target) -> dict[str, Any]:
        """Who asked for it, why, who agreed: requests and decisions along the lineage."""
        with way.open(ctx) as (_, requests):
            return message_document(requests.why(as_digest(target) or target))

    @server.tool()
    def lineage(
        ctx: Context[Any, Any], target: Target, downstream: bool = False, depth: int = 0
    ) -> dict[str, Any]:
        """What a run or content was made from, or (downstream) what was made from it."""
        start = as_digest(target) or target
        return looked(ctx, lambda c: c.lineage(start, downstream=downstream, depth=depth))

    @server.tool()
    def spend(
        ctx: Context[Any, Any],
        by: Literal["run", "user", "project", "request", "gpu"] = "run",
        days: Annotated[int, Field(ge=1, le=3650)] = 30,
        limit: Annotated[int, Field(ge=1, le=1000)] = 50,
    ) -> dict[str, Any]:
        """GPU-seconds and dollars of the last days, by run, user, project, request or GPU model."""
        return looked(ctx, lambda c: {"by": by, "rows": _rows(c, spend_query(by, days, limit))})

    @server.tool()
    def duplicates(ctx: Context[Any, Any], digest: Target) -> dict[str, Any]:
        """Runs that read this dataset or base model already: before it is computed again."""

        def ask(client: Client) -> dict[str, Any]:
            found = client.find(digest=as_digest(digest) or digest)
            return {"runs": found.consumers, "candidates": found.candidates}

        return looked(ctx, ask)

    @server.tool()
    def prices(ctx: Context[Any, Any], gpu_model: GpuModel, hours: Hours = "1") -> dict[str, Any]:
        """What one GPU of a model costs, by the price book, and on what that rests."""
        with way.open(ctx) as (_, requests):
            fields = {"gpus": 1, "gpu_model": gpu_model, "hours": hours}
            reply = requests.file(card_of(fields, time.time_ns()), only_check=True)
            return message_document(reply.estimate)


_GROUPS = {
    "run": "r.run_id, any_value(r.command) AS command",
    "user": "r.user_name",
    "project": "r.project",
    "request": "q.request_id",
    "gpu": "s.gpu_model",
}


def spend_query(by: str, days: int, limit: int) -> str:
    """Return the statement over the stable views; by is one of _GROUPS."""
    chosen = _GROUPS[by]
    group = chosen.partition(",")[0]
    return (
        f"SELECT {chosen}, sum(s.gpu_seconds) AS gpu_seconds, sum(s.cost_usd) AS cost_usd "  # noqa: S608  our own words and numbers
        "FROM spend s LEFT JOIN runs r USING (run_id) "
        "LEFT JOIN request_runs q USING (run_id) "
        f"WHERE s.charged_from > now()::TIMESTAMP - INTERVAL {int(days)} DAY "
        f"GROUP BY {group} ORDER BY cost_usd DESC NULLS LAST LIMIT {int(limit)}"
    )


def _rows(client: Client, query: str) -> list[dict[str, Any]]:
    pieces = list(client.sql(query))
    names = pieces[0].columns if pieces else ()
    return [dict(zip(names, row, strict=True)) for piece in pieces for row in piece.rows]
