"""Whose batch is committed next: hosts in turn, so that one that floods makes no other wait.

Only used on one event loop; knows nothing of batches but their rows.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What waits: it has rows."""

    @property
    def rows(self) -> int:
        """How many rows it brings."""


Item = TypeVar("Item", bound=Sized)


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait: items of one host, and of all together."""

    of_host: int
    of_all: int


class Turns(Generic[Item]):
    """Queues by host; take() goes around them, one item of each."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: OrderedDict[int, deque[Item]] = OrderedDict()
        self._gates: dict[int, deque[asyncio.Future[None]]] = {}  # who waits for room, by host
        self._count = 0

    def __len__(self) -> int:
        return self._count

    async def put(self, host_id: int, item: Item) -> None:
        """Add an item behind those of its host, waiting while there is no room for it.

        A host that has nothing here always finds room: of_all bounds what hosts have beyond
        their first item.
        """
        while not self._has_room(host_id):
            gate = asyncio.get_running_loop().create_future()
            self._gates.setdefault(host_id, deque()).append(gate)
            await gate
        self._waiting.setdefault(host_id, deque()).append(item)
        self._count += 1

    def _has_room(self, host_id: int) -> bool:
        mine = self._waiting.get(host_id, ())
        return not mine or (len(mine) < self._room.of_host and self._count < self._room.of_all)

    def take(self, most_rows: int) -> list[Item]:
        """Return what is committed next: at least one item if there is any, up to most_rows."""
        taken: list[Item] = []
        hosts: dict[int, None] = {}
        rows = 0
        while self._waiting and rows < most_rows:
            host_id, item = self._next()
            taken.append(item)
            hosts[host_id] = None
            rows += item.rows
        self._count -= len(taken)
        for host_id in hosts:
            self._let_in(host_id)
        return taken

    def _next(self) -> tuple[int, Item]:
        """Return the item of the host whose turn it is; the host goes behind all others."""
        host_id, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[host_id] = items
        return host_id, item

    def _let_in(self, host_id: int) -> None:
        """Wake whoever waits for room for this host; each looks again whether there is any."""
        for gate in self._gates.pop(host_id, ()):
            if not gate.done():
                gate.set_result(None)
