"""A machine with a servicer that answers about it, for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.unit.traced import Machine, digest_of

from whence_collector.presence import Presence
from whence_collector.query import QueryService
from whence_proto.v1 import query_pb2 as wire

if TYPE_CHECKING:
    from whence_collector.resolved import ProcessRow


class Asked:
    """A machine and the servicer that answers about it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.host = machine.host
        self._service: Any = QueryService(machine.store, Presence(), "1.2.3")

    def ask(self, name: str, request: Any) -> Any:
        """Ask one question and return the reply."""
        return asyncio.run(getattr(self._service, name)(request, None))

    def sql(self, query: str, max_rows: int = 0) -> list[wire.SqlChunk]:
        """Run one SELECT and return all chunks."""

        async def collect() -> list[wire.SqlChunk]:
            request = wire.SqlRequest(query=query, max_rows=max_rows)
            return [chunk async for chunk in self._service.Sql(request, None)]

        try:
            return asyncio.run(collect())
        finally:
            self._service.close()  # its worker is a process

    def find(self, content: str, **more: str) -> wire.FindReply:
        """Ask for a made-up content."""
        reply: wire.FindReply = self.ask(
            "Find", wire.FindRequest(digest=digest_of(content), **more)
        )
        return reply

    def run_id(self, command: str) -> str:
        """Return the id of the run with a command."""
        found = self.machine.rows("SELECT run_id FROM run WHERE command = ?", (command,))
        return str(found[0][0])


def pipeline(asked: Asked) -> dict[str, ProcessRow]:
    """A script: prepare reads raw.csv, train writes model.pt by way of model.tmp, evaluate."""
    host = asked.host
    script = host.spawn(None, "sh", "all.sh")
    prepare = host.spawn(script, "python", "prepare.py")
    host.read(prepare, 1, "/d/raw.csv")
    host.write(prepare, 2, "/d/prepared.npz")
    host.end(prepare)
    train = host.spawn(script, "python", "train.py")
    host.read(train, 3, "/d/train.py")
    host.read(train, 8, "/usr/lib/libc.so.6")
    host.read(train, 2, "/d/prepared.npz")
    host.write(train, 4, "/d/model.tmp")
    host.rename(train, "/d/model.tmp", "/d/model.pt", 4)
    host.read(train, 5, "/d/afterwards.csv")
    host.end(train)
    evaluate = host.spawn(script, "python", "evaluate.py")
    host.read(evaluate, 4, "/d/model.pt")
    host.write(evaluate, 6, "/d/metrics.json")
    host.end(evaluate, script)
    contents = ["raw", "prepared", "code", "model", "late", "metrics"]
    for version, content in enumerate(contents, 1):
        host.digest(version, content, path="/d/" + content)
    asked.machine.deliver()
    return {"script": script, "prepare": prepare, "train": train, "evaluate": evaluate}
