"""sd_notify of both programs against a real datagram socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import whence_collector.notify
import whenced.notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.settimeout(20.0)
        yield link


@pytest.mark.parametrize("program", [whenced.notify, whence_collector.notify])
def test_one_message_holds_all_lines(program: ModuleType, manager: socket.socket) -> None:
    notifier = program.Notifier({"NOTIFY_SOCKET": manager.getsockname()})

    notifier.tell("READY=1", "STATUS=fine")

    assert manager.recv(100) == b"READY=1\nSTATUS=fine"


@pytest.mark.parametrize("program", [whenced.notify, whence_collector.notify])
def test_without_or_with_a_dead_manager_nothing_happens(
    program: ModuleType, tmp_path: Path
) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        program.Notifier(environment).tell("READY=1")


def test_the_watchdog_hears_twice_in_its_period(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"}
    notifier = whence_collector.notify.Notifier(environment)

    async def tell_for_a_while() -> None:
        telling = asyncio.create_task(notifier.keep_telling())
        await asyncio.to_thread(manager.recv, 100)
        await asyncio.to_thread(manager.recv, 100)
        telling.cancel()

    asyncio.run(tell_for_a_while())

    assert notifier.watchdog_s == 0.01
