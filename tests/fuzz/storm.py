"""Calls of all methods at once: many callers, each with the next method in turn.

Counts how each call ended. A method that does not answer at all within HANG_S is a hang.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc.aio
from tests.fuzz import calls
from tests.fuzz.calls import FAULTS, Method, requests_for

CALLERS = 48
HANG_S = 60.0  # as long as a question may wait behind the others of a storm
# Streams that go on for ever are listened to for a moment; every other has to end.
ENDLESS = ("/whence.v1.Ingest/Deliver", "/whence.v1.Requests/Watch")
LISTEN_S = 0.3
ANSWERS = 100
REPORT_S = 60.0


async def storm(address: str, found: Sequence[Method], count: int) -> str:
    """Make ``count`` calls; return how they ended. Raises SystemExit at a fault or a hang."""
    turns = itertools.cycle(found)
    left = iter(range(count))
    ended: Counter[str] = Counter()
    reporting = asyncio.create_task(_report(ended, count))
    with grpc.insecure_channel(address) as other:
        async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as callers:
            for seed in range(CALLERS):
                callers.create_task(_call_on((channel, other), turns, left, ended, seed))
    reporting.cancel()
    each = f"{count // len(found):,} calls of each of {len(found)} methods"
    return f"{each}: " + ", ".join(f"{name} {told:,}" for name, told in ended.most_common())


async def _call_on(channels: Any, turns: Any, left: Any, ended: Counter[str], seed: int) -> None:
    dice = random.Random(f"{time.time_ns()} {seed}")  # noqa: S311 -- no secret
    for _ in left:
        method = next(turns)
        requests = list(requests_for(method, dice))
        began_s = time.monotonic()
        if method.descriptor.client_streaming:
            # grpc.aio tells a server that ends a call early as a fault of its own core.
            status = await asyncio.to_thread(calls.call, channels[1], method, requests)
            told = "the collector's log has it"
        else:
            status, told = await call(channels[0], method, requests[0])
        if status in FAULTS or time.monotonic() - began_s > HANG_S:
            what = f"{status} ({told})" if status in FAULTS else "no answer"
            raise SystemExit(f"{method.path} ended with {what}: {_written(requests)}")
        ended[status.name] += 1


async def call(channel: Any, method: Method, request: bytes) -> tuple[grpc.StatusCode, str]:
    """Call a method with a request as bytes; return how it ended and what was said."""
    try:
        if method.descriptor.server_streaming:
            answers = channel.unary_stream(method.path)(request)
            await _listen(answers, endless=method.path in ENDLESS)
        else:
            await channel.unary_unary(method.path)(request, timeout=2 * HANG_S)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


def _written(requests: Sequence[bytes]) -> str:
    """Write requests so that they can be sent again; long ones into a file."""
    text = repr(list(requests))
    if len(text) < 500:
        return text
    with tempfile.NamedTemporaryFile("w", prefix="whence-fuzz-", delete=False) as file:
        file.write(text)
    return file.name


async def _listen(answers: Any, *, endless: bool) -> None:
    """Read some answers; leave one that may go on for ever after a while."""
    try:
        async with asyncio.timeout(LISTEN_S if endless else 2 * HANG_S):
            position = 0
            async for _ in answers:
                position += 1
                if position == ANSWERS:
                    break
    except TimeoutError:
        pass
    finally:
        answers.cancel()


async def _report(ended: Counter[str], count: int) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        print(f"{sum(ended.values()):,} of {count:,} calls", file=sys.stderr, flush=True)  # noqa: T201 -- progress
