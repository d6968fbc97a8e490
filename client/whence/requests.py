"""Training requests from Python: `whence.requests.file(title=…, budget="984.00")` and the rest.

    from whence import requests

    filed = requests.file(title="Tune base_v4", rationale="…", datasets=["s3://corp/x@ad9c125"],
                          gpus=8, gpu_model="H100", hours="3.2", budget="984.00",
                          reviewers=["maria"])
    print(filed.request.summary.request_id, [finding.text for finding in filed.findings])

Every function takes `address` (default: WHENCE_ADDRESS) and raises as `whence.Client` does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.client import Client
from whence.request_client import RequestClient
from whence.request_form import card_of, merged

if TYPE_CHECKING:
    from whence_proto.v1 import request_pb2 as wire


@contextmanager
def connected(address: str | None = None) -> Iterator[RequestClient]:
    """Give a RequestClient for several calls."""
    with Client(address) as client:
        yield RequestClient(client)


def check(*, address: str | None = None, **fields: Any) -> wire.FileReply:
    """Check a request field by field and file nothing; `fields` as in docs/requests.md."""
    with connected(address) as client:
        return client.file(card_of(fields, time.time_ns()), only_check=True)


def file(
    *, draft: bool = False, key: str = "", address: str | None = None, **fields: Any
) -> wire.FileReply:
    """File a request, or keep a draft; the same key again is the same filing."""
    with connected(address) as client:
        return client.file(card_of(fields, time.time_ns()), draft=draft, key=key)


def amend(request_id: str, *, address: str | None = None, **fields: Any) -> wire.FileReply:
    """Change some fields of a request: a new revision."""
    with connected(address) as client:
        found = client.get(request_id)
        card = merged(found.card, card_of(fields, time.time_ns()))
        return client.edit(request_id, card, found.summary.digest)


def get(request_id: str, *, address: str | None = None) -> wire.RequestDetail:
    """Return one request in full."""
    with connected(address) as client:
        return client.get(request_id)


def find(*, address: str | None = None, **filters: Any) -> list[wire.RequestSummary]:
    """Return requests, newest first: mine, to_review, queued, states, project, limit."""
    with connected(address) as client:
        return [*client.list(**filters).requests]


def comment(target: str, text: str, *, address: str | None = None) -> None:
    """Say something about a request, run or content."""
    with connected(address) as client:
        client.comment(target, text)


def claim(request_id: str, host: str = "", *, address: str | None = None) -> wire.ClaimReply:
    """Take an approved request in hand; put `claim_id` into WHENCE_CLAIM of the run."""
    with connected(address) as client:
        return client.claim(request_id, host)
