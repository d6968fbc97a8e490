"""The agents' way in, asked by the real client of the protocol: over HTTP and in one process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from mcp import Client
from tests.unit.request_place import Place

from whence.mcp_server import Way, build
from whence_collector.requests import RequestService
from whence_collector.status import ErrorInterceptor
from whence_proto.v1 import request_pb2 as wire
from whence_proto.v1 import request_pb2_grpc

TOOLS = {
    "check_request", "file_request", "amend_request", "follow_request", "claim_request", "why",
    "get_request", "list_requests", "comment", "list_people", "lineage", "spend", "duplicates",
    "prices",
}  # fmt: skip


class Served:
    """A place behind a real gRPC port, in a loop of its own."""

    def __init__(self, place: Place) -> None:
        self.loop = asyncio.new_event_loop()
        self.address = ""
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(place.family.service), self.loop).result(20)

    async def _serve(self, service: RequestService) -> None:
        self.server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        request_pb2_grpc.add_RequestsServicer_to_server(service, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self.server.start()

    def stop(self) -> None:
        """Stop serving."""
        asyncio.run_coroutine_threadsafe(self.server.stop(0), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    for each in (
        wire.Principal(name="maria", kind="human", roles=["approver"]),
        wire.Principal(name="alice", kind="human", roles=["member"]),
        wire.Principal(name="alice/ci", kind="agent", owner="alice", roles=["member"]),
    ):
        made.administer("SetPrincipal", each)
    yield made
    made.close()


@pytest.fixture
def served(place: Place) -> Iterator[Served]:
    made = Served(place)
    yield made
    made.stop()


def way_of(place: Place, served: Served) -> Way:
    """Return how alice's agent reaches the collector."""
    token = place.administer("AddToken", wire.AddTokenRequest(principal="alice/ci")).token
    environment = {"WHENCE_TOKEN": token, "WHENCE_DATA_DIR": "/nowhere", "HOME": "/nowhere"}
    return Way(served.address, environment, by_token=False)


def called(way: Way, name: str, **arguments: Any) -> Any:
    """Call one tool with the real client."""

    async def call() -> Any:
        async with Client(build(way)) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(call())


def test_every_tool_tells_what_it_takes(place: Place, served: Served) -> None:
    way = way_of(place, served)

    async def tools() -> Any:
        async with Client(build(way)) as client:
            return (await client.list_tools()).tools

    found = {each.name: each for each in asyncio.run(tools())}

    assert set(found) == TOOLS
    assert not [name for name in found if "approve" in name or "review" in name]
    filing = found["file_request"].input_schema
    assert set(filing["required"]) >= {"title", "rationale", "budget_usd", "reviewers", "gpus"}
    assert filing["properties"]["budget_usd"]["examples"] == ["984.00"]
    assert all(each.description for each in found.values())


def test_what_is_missing_comes_back_with_what_to_do(place: Place, served: Served) -> None:
    result = called(way_of(place, served), "check_request", title="Tune it", reviewers=["nobody"])

    told = result.structured_content
    assert told["filed"] is False
    wrong = {each["field"] for each in told["findings"] if each["severity"] == "error"}
    assert wrong == {
        "rationale", "budget", "compute.count", "compute.gpu_model", "compute.hours", "reviewers",
    }  # fmt: skip
    assert told["next"].startswith("correct the fields")


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("get_request", {"request_id": "R-99"}, "Next:"),
        ("claim_request", {"request_id": "R-99"}, "R-99"),
        ("amend_request", {"request_id": "R-1"}, "Nothing to do"),
        ("file_request", {"title": "x"}, "rationale"),
    ],
)
def test_errors_say_what_to_do_next(
    place: Place, served: Served, name: str, arguments: dict[str, Any], says: str
) -> None:
    result = called(way_of(place, served), name, **arguments)

    assert result.is_error
    assert says in "".join(part.text for part in result.content)


def test_over_http_each_agent_shows_its_own_token(place: Place, served: Served) -> None:
    import httpx2
    import uvicorn
    from mcp.client.streamable_http import streamable_http_client

    way = way_of(place, served)
    token = way.environment["WHENCE_TOKEN"]
    nobody = Way(served.address, {**way.environment, "WHENCE_TOKEN": ""}, by_token=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = build(nobody).streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    async def ask(headers: dict[str, str]) -> Any:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)) as mcp,
        ):
            return await mcp.call_tool("list_people", {})

    while not server.started:
        thread.join(0.05)
    known = asyncio.run(ask({"Authorization": f"Bearer {token}"}))
    unknown = asyncio.run(ask({}))
    server.should_exit = True
    thread.join(20)

    assert (known.structured_content["you"]["name"], known.structured_content["you"]["kind"]) == (
        "alice/ci", "agent",
    )  # fmt: skip
    assert unknown.is_error
    assert "Authorization: Bearer" in unknown.content[0].text
