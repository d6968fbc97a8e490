"""Questions about tags, as functions of a client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whence.client import Client
from whence.model import from_wire
from whence.model_tags import Tagged, Tags
from whence_proto.v1 import tags_pb2
from whence_proto.v1.tags_pb2_grpc import TagsStub


@dataclass(frozen=True, slots=True)
class Saying:
    """One statement: a key, its value if it has one, and whether it is taken away."""

    key: str
    value: str | None = None
    removed: bool = False
    inherit: bool | None = None


def add_tags(client: Client, subject: str, sayings: Sequence[Saying], who: str) -> Tagged:
    """Say something about a run, digest or tree; raises as Client does."""
    request = tags_pb2.TagRequest(
        subject=subject,
        who=who,
        changes=[
            tags_pb2.TagChange(
                key=each.key, value=each.value, removed=each.removed, inherit=each.inherit
            )
            for each in sayings
        ],
    )
    return from_wire(Tagged, client.ask(TagsStub(client.channel).Tag, request))


def list_tags(
    client: Client,
    subject: str | None = None,
    key: str | None = None,
    *,
    history: bool = False,
    limit: int = 0,
) -> Tags:
    """Return what is said of a subject, or of all; raises as Client does."""
    request = tags_pb2.ListTagsRequest(subject=subject, key=key, history=history, limit=limit)
    return from_wire(Tags, client.ask(TagsStub(client.channel).ListTags, request))
