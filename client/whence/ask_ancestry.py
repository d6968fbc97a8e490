"""Questions about what lies behind runs and contents, as functions of a client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import grpc

from whence.client import Client, translate
from whence.model import from_wire
from whence.model_ancestry import (
    KINDS,
    Comparison,
    Duplicates,
    FoundTrees,
    Recipe,
    RootInputs,
    Touched,
    Tree,
    Who,
)
from whence_proto.tree_digest import Bucket, Member
from whence_proto.v1 import ancestry_pb2 as wire
from whence_proto.v1.ancestry_pb2_grpc import AncestryStub

MEMBERS_AT_ONCE = 20_000
REGISTER_TIMEOUT_S = 3_600.0


def find_tree(
    client: Client,
    digest: str | None = None,
    path: str | None = None,
    host: str | None = None,
    buckets: dict[int, Bucket] | None = None,
    member: str | None = None,
) -> FoundTrees:
    """Return trees by digest, folder or a member's digest; buckets: what the folder holds now."""
    request = wire.FindTreeRequest(
        digest=digest,
        path=path,
        host=host,
        member=member,
        buckets=[
            wire.TreeBucket(number=number, digest=each.digest, members=each.members)
            for number, each in (buckets or {}).items()
        ],
    )
    return from_wire(FoundTrees, client.ask(_stub(client).FindTree, request), KINDS)


def register_tree(client: Client, members: Iterable[Member]) -> Tree:
    """Make a tree known that no run was seen to read."""
    try:
        reply = _stub(client).RegisterTree(_pieces(members), timeout=REGISTER_TIMEOUT_S)
    except grpc.RpcError as error:
        raise translate(error, client.address) from None
    return from_wire(Tree, reply, KINDS)


def _pieces(members: Iterable[Member]) -> Iterator[wire.TreeMembers]:
    rest = iter(members)
    while part := list(islice(rest, MEMBERS_AT_ONCE)):
        yield wire.TreeMembers(
            path=[each.path for each in part],
            blake3=[each.blake3 for each in part],
            size_bytes=[each.size_bytes for each in part],
        )


def touched(
    client: Client,
    subject: str,
    *,
    digests: Sequence[str] = (),
    tree: str | None = None,
    label: str | None = None,
) -> Touched:
    """Return whether a subject's ancestry read given contents."""
    request = wire.TouchedRequest(subject=subject, digests=digests, tree=tree, label=label)
    return from_wire(Touched, client.ask(_stub(client).Touched, request), KINDS)


def root_inputs(
    client: Client, subject: str, limit: int = 0, *, sourced: bool | None = None
) -> RootInputs:
    """Return the data behind a subject that no observed run made; sourced: only such, or not."""
    request = wire.RootInputsRequest(subject=subject, limit=limit, sourced=sourced)
    return from_wire(RootInputs, client.ask(_stub(client).RootInputs, request), KINDS)


def compare(client: Client, a: str, b: str) -> Comparison:
    """Return what differs between two subjects."""
    request = wire.CompareRequest(a=a, b=b)
    return from_wire(Comparison, client.ask(_stub(client).Compare, request), KINDS)


def who(client: Client, subject: str) -> Who:
    """Return the people and agents behind a subject."""
    return from_wire(Who, client.ask(_stub(client).Who, wire.WhoRequest(subject=subject)), KINDS)


def recipe(client: Client, subject: str) -> Recipe:
    """Return how to make a subject again."""
    request = wire.RecipeRequest(subject=subject)
    return from_wire(Recipe, client.ask(_stub(client).Recipe, request), KINDS)


def duplicates(
    client: Client, run_id: str | None = None, *, running: bool = False, limit: int = 0
) -> Duplicates:
    """Return runs that repeat earlier ones."""
    request = wire.DuplicatesRequest(run_id=run_id, running=running, limit=limit)
    return from_wire(Duplicates, client.ask(_stub(client).Duplicates, request), KINDS)


def _stub(client: Client) -> AncestryStub:
    return AncestryStub(client.channel)
