"""The answer to Who: people and agents along the lineage, and what they did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence_collector import answer_rows as rows
from whence_collector.closure import above, start_of
from whence_collector.incomplete import COMMAND_CHARS
from whence_collector.lookups import where_in
from whence_proto.v1 import ancestry_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.graph import Graph
    from whence_collector.store import Reader

COMMANDS_LISTED = 5
RUNS = """
SELECT r.run_id, r.principal_kind, r.principal, r.acting_for,
    coalesce(r.user_name, 'uid ' || r.uid::VARCHAR, 'somebody'), h.name, r.command, r.started_ns,
    r.kind
FROM run r JOIN host h USING (host_id)
"""
TAGGED = "SELECT who, at_ns, run_id, proven FROM tag_statement"


@dataclass(slots=True)
class _Person:
    kind: str
    name: str
    acting_for: str | None
    roles: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    acts: list[tuple[int, str]] = field(default_factory=list)
    runs: int = 0


def who(reader: Reader, graph: Graph, request: wire.WhoRequest) -> wire.WhoReply:
    """Answer Who; raises InvalidRequest and NotFound."""
    start = start_of(reader, request.subject)
    reached = above(graph, start)
    people: dict[tuple[str, str, str | None], _Person] = {}
    for _, kind, name, acting_for, user, host, command, at_ns, run_kind in where_in(
        reader, RUNS, "r.run_id", list(reached)
    ):
        if run_kind == "session":
            continue
        key = (kind or "human", name or user, acting_for)
        person = people.setdefault(key, _Person(*key))
        person.roles.add("ran")
        person.hosts.add(host)
        person.acts.append((at_ns, command))
        person.runs += 1
    for said_by, at_ns, _, _ in where_in(reader, TAGGED, "run_id", list(reached)):
        key = ("human", said_by, None)
        person = people.setdefault(key, _Person(*key))
        person.roles.add("tagged")
        person.acts.append((at_ns, ""))
    reply = wire.WhoReply(subject=start.name, runs=len(reached), complete=bool(reached))
    for person in sorted(people.values(), key=lambda each: (-each.runs, each.name)):
        reply.people.append(_message(person))
    if not reached:
        reply.incomplete_reasons.append("no observed run made it")
    for run in rows.run_summaries(reader, reached).values():
        if not run.complete:
            reason = run.incomplete_reason or "the reason is not known"
            reply.incomplete_reasons.append(
                f"run {run.run_id} ({run.command[:COMMAND_CHARS]}): {reason}"
            )
    reply.complete = not reply.incomplete_reasons
    return reply


def _message(person: _Person) -> wire.Person:
    acts = sorted(person.acts, reverse=True)
    commands = list(dict.fromkeys(command for _, command in acts if command))
    return wire.Person(
        kind=person.kind,
        name=person.name,
        acting_for=person.acting_for,
        roles=sorted(person.roles),
        runs=person.runs,
        hosts=sorted(person.hosts),
        first_unix_ns=acts[-1][0],
        last_unix_ns=acts[0][0],
        commands=commands[:COMMANDS_LISTED],
    )
