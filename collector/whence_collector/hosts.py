"""Hosts, their boots and the lives of their daemons: small tables, held in memory whole.

Only writes inside the transaction that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

from whence_collector.store import Writer
from whence_proto.v1 import ingest_pb2 as wire


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a batch comes from, in dense ids."""

    host_id: int
    boot_id: int
    capture_id: int


class Hosts:
    """Ids of hosts (name and machine id), boots (uuid) and captures (epoch)."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], int] = {}
        self._boots: dict[str, tuple[int, int]] = {}
        self._captures: dict[str, int] = {}

    def resume(self, writer: Writer) -> None:
        """Read all three tables: at start, and after a transaction that may have failed."""
        hosts = writer.rows("SELECT name, machine_id, host_id FROM host")
        self._hosts = {(name, machine): host for name, machine, host in hosts}
        boots = writer.rows("SELECT boot_uuid, boot_id, host_id FROM boot")
        self._boots = {uuid: (boot, host) for uuid, boot, host in boots}
        self._captures = dict(writer.rows("SELECT epoch, capture_id FROM capture"))

    def register(self, hello: wire.Hello, now_ns: int, writer: Writer) -> int:
        """Keep what a daemon says of itself in place of its last Hello; return the host id."""
        host_id = self._host(hello.host, hello.machine_id, writer)
        boot_id, _ = self._boot(hello.boot_id, host_id, writer)
        writer.execute("DELETE FROM daemon WHERE host_id = ?", (host_id,))
        writer.execute(
            "INSERT INTO daemon VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                host_id,
                boot_id,
                hello.daemon_version,
                hello.kernel,
                hello.back_end,
                list(hello.capabilities),
                list(hello.missing_capabilities),
                hello.wire_version,
                hello.capture_started_ns + hello.wall_offset_ns,
                now_ns,
            ),
        )
        if hello.HasField("facts"):
            self._keep_facts(host_id, hello.facts, writer)
        return host_id

    def _keep_facts(self, host_id: int, facts: wire.HostFacts, writer: Writer) -> None:
        writer.execute("DELETE FROM host_facts WHERE host_id = ?", (host_id,))
        writer.execute(
            "INSERT INTO host_facts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                host_id,
                facts.operating_system or None,
                facts.cpu_model or None,
                facts.cpu_count or None,
                facts.memory_bytes or None,
                facts.gpu_driver or None,
                list(facts.gpu_models),
            ),
        )

    def place(self, batch: wire.Batch, sender_host_id: int, writer: Writer) -> Origin:
        """Return the ids of a batch's origin; an unknown boot belongs to the sending host."""
        boot_id, host_id = self._boot(batch.boot_id, sender_host_id, writer)
        capture_id = self._captures.get(batch.epoch)
        if capture_id is None:
            capture_id = len(self._captures) + 1
            self._captures[batch.epoch] = capture_id
            writer.execute(
                "INSERT INTO capture VALUES (?, ?, ?)", (capture_id, batch.epoch, boot_id)
            )
        return Origin(host_id, boot_id, capture_id)

    def _host(self, name: str, machine_id: str, writer: Writer) -> int:
        host_id = self._hosts.get((name, machine_id))
        if host_id is None:
            host_id = len(self._hosts) + 1
            self._hosts[name, machine_id] = host_id
            writer.execute("INSERT INTO host VALUES (?, ?, ?)", (host_id, name, machine_id))
        return host_id

    def _boot(self, uuid: str, host_id: int, writer: Writer) -> tuple[int, int]:
        found = self._boots.get(uuid)
        if found is None:
            found = (len(self._boots) + 1, host_id)
            self._boots[uuid] = found
            writer.execute("INSERT INTO boot VALUES (?, ?, ?)", (found[0], uuid, host_id))
        return found
