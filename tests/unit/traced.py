"""A made-up host for tests: processes that fork, execute, touch files and end, as rows.

Rows are what the storing side hands to the deriving side; Machine stores them in a real database.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from whence_collector import rows
from whence_collector.resolved import (
    AccessColumns,
    AccountRow,
    CodeRow,
    DigestColumns,
    EndRow,
    EnvironmentRow,
    LossRow,
    MarkRow,
    MetricRow,
    NameRow,
    ProcessRow,
    RecipeRows,
    ResolvedBatch,
    StreamRow,
    TagRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whence_collector.derive import Deriver
    from whence_collector.store import Store, Writer

FORK, EXEC, SNAPSHOT = 1, 2, 3
SECOND_NS = 1_000_000_000
NOON_NS = 1_800_000_000 * SECOND_NS


# version_id, DigestState, artifact_id, size_bytes, reason, at_unix_ns, path_id
Digest = tuple[int, int, int, int, str | None, int, int]


@dataclass(slots=True)
class Host:
    """Processes and what they do; the clock moves a millisecond with each event."""

    boot_id: int = 1
    now_ns: int = NOON_NS
    next_tgid: int = 1000
    next_process: int = 1
    processes: list[ProcessRow] = field(default_factory=list)
    ends: list[EndRow] = field(default_factory=list)
    streams: list[StreamRow] = field(default_factory=list)
    accesses: list[tuple[int, ...]] = field(default_factory=list)
    names: list[NameRow] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    code_states: list[CodeRow] = field(default_factory=list)
    losses: list[LossRow] = field(default_factory=list)
    tags: list[TagRow] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    environments: list[EnvironmentRow] = field(default_factory=list)
    capture_id: int = 1
    marks: list[MarkRow] = field(default_factory=list)
    accounts: list[AccountRow] = field(default_factory=list)
    paths: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, int] = field(default_factory=dict)

    def tick(self) -> int:
        """Let a millisecond pass and return the time."""
        self.now_ns += 1_000_000
        return self.now_ns

    # Processes ----------------------------------------------------------------

    def fork(self, parent: ProcessRow | None, origin: int = FORK, **changes: Any) -> ProcessRow:
        """Fork a process: it runs its parent's program in its parent's group."""
        at_ns = self.tick()
        tgid = self.next_tgid
        self.next_tgid += 1
        blank = ProcessRow(
            process_id=0,
            boot_id=self.boot_id,
            tgid=tgid,
            start_ns=at_ns - NOON_NS,
            image=0,
            parent_process_id=None,
            at_unix_ns=at_ns,
            origin=origin,
            exe=None,
            exe_version_id=None,
            script=None,
            argv=(),
            arguments_truncated=False,
            cwd="/home/ada/project",
            uid=1000,
            user_name="ada",
            login_uid=1000,
            session=tgid,
            process_group=tgid,
            terminal=0,
            cgroup="/user.slice/session-1.scope",
            mount_namespace=1,
            pid_namespace=1,
            command_name=None,
        )
        row = (
            blank
            if parent is None
            else replace(
                parent,
                tgid=tgid,
                start_ns=blank.start_ns,
                at_unix_ns=at_ns,
                origin=origin,
                image=0,
                parent_process_id=parent.process_id,
            )
        )
        row = replace(row, process_id=self.next_process, **changes)
        self.next_process += 1
        self.processes.append(row)
        return row

    def exec(self, process: ProcessRow, *argv: str, **changes: Any) -> ProcessRow:
        """Execute in a forked process: describe it again."""
        exe = changes.pop("exe", "/usr/bin/" + argv[0].rpartition("/")[2].lstrip("-"))
        changes.setdefault("script", None)
        row = replace(
            process,
            at_unix_ns=self.tick(),
            origin=EXEC,
            exe=exe,
            argv=argv,
            command_name=exe.rpartition("/")[2][:15],
            **changes,
        )
        self.processes.append(row)
        return row

    def spawn(self, parent: ProcessRow | None, *argv: str, **changes: Any) -> ProcessRow:
        """Fork and execute."""
        kept = ("session", "process_group", "terminal")
        early = {name: changes[name] for name in kept if name in changes}
        return self.exec(self.fork(parent, **early), *argv, **changes)

    def again(self, process: ProcessRow, *argv: str, **changes: Any) -> ProcessRow:
        """Execute in a process that had executed before: the next image."""
        self.ends.append(EndRow(process.process_id, self.tick(), 0, 0, replaced=True))
        row = replace(process, image=process.image + 1, process_id=self.next_process)
        self.next_process += 1
        return self.exec(row, *argv, **changes)

    def found(self, parent: ProcessRow | None, *argv: str, **changes: Any) -> ProcessRow:
        """A process that was running before capture began."""
        exe = changes.pop("exe", "/usr/bin/" + argv[0].rpartition("/")[2].lstrip("-"))
        return self.fork(
            parent, SNAPSHOT, exe=exe, argv=argv, command_name=exe.rpartition("/")[2], **changes
        )

    def with_environment(self, process: ProcessRow, **variables: str) -> ProcessRow:
        """Say which allowed variables a program had at its exec."""
        pairs = tuple(sorted(variables.items()))
        self.environments.append(EnvironmentRow(process.process_id, False, pairs))
        return process

    def end(self, *processes: ProcessRow, code: int = 0, signal: int = 0) -> None:
        """End processes."""
        for process in processes:
            self.ends.append(EndRow(process.process_id, self.tick(), code, signal, replaced=False))

    def mark(self, mark: int, *alive: ProcessRow) -> int:
        """Say where capture stands; return when."""
        at_ns = self.tick()
        lives = frozenset((each.tgid, each.start_ns) for each in alive)
        self.marks.append(MarkRow(mark, at_ns, at_ns - NOON_NS, lives))
        return at_ns

    def pipe(self, writer: ProcessRow, reader: ProcessRow, inode: int = 7) -> None:
        """Pass data through a pipe."""
        for process, write in ((writer, True), (reader, False)):
            self.streams.append(
                StreamRow(process.process_id, self.boot_id, 13, inode, write, self.tick(), None)
            )

    # Files --------------------------------------------------------------------

    def path_id(self, path: str) -> int:
        """Return the id of a path."""
        return self.paths.setdefault(path, len(self.paths) + 1)

    def touch(
        self,
        process: ProcessRow,
        op: int,
        version: int,
        path: str,
        flags: int = 0,
        count_bytes: int = 100,
    ) -> int:
        """Touch a file version once; return when."""
        at_ns = self.tick()
        path_id = self.path_id(path)
        self.accesses.append(
            (process.process_id, version, path_id, op, 1, count_bytes, at_ns, at_ns, flags, 1)
        )
        return at_ns

    def read(self, process: ProcessRow, version: int, path: str) -> int:
        """Read a file version; return when."""
        return self.touch(process, 1, version, path)

    def write(self, process: ProcessRow, version: int, path: str) -> int:
        """Write a file version; return when."""
        return self.touch(process, 2, version, path)

    def digest(self, version: int, content: str, size_bytes: int = 1000, path: str = "/x") -> None:
        """Say what a version holds: contents are told apart by their text."""
        artifact_id = self.artifacts.setdefault(content, len(self.artifacts) + 1)
        self.digests.append(
            (version, 1, artifact_id, size_bytes, None, self.tick(), self.path_id(path))
        )

    def undigested(self, version: int, state: int, reason: str) -> None:
        """Say that a version is torn (3) or unhashed (4)."""
        self.digests.append((version, state, 0, 0, reason, self.tick(), self.path_id("/x")))

    def rename(self, process: ProcessRow, old: str, new: str, version: int | None = None) -> None:
        """Rename a file, or a folder where no version is given."""
        self._name(process, 1, old, new, version)

    def delete(self, process: ProcessRow, path: str, version: int | None = None) -> None:
        """Delete a file."""
        self._name(process, 3, path, "", version)

    def _name(
        self, process: ProcessRow, change: int, old: str, new: str, version: int | None
    ) -> None:
        new_id = self.path_id(new) if new else 0
        self.names.append(
            NameRow(
                process.process_id,
                change,
                self.tick(),
                self.path_id(old),
                new_id,
                version,
                version is None,
                1,
            )
        )

    def batch(self) -> ResolvedBatch:
        """Take everything since the last call, as one batch."""
        accesses = np.array(self.accesses, np.int64).reshape(-1, 10).T
        batch = ResolvedBatch(
            host_id=1,
            boot_id=self.boot_id,
            epoch="e",
            number=1,
            processes=tuple(self.processes),
            ends=tuple(self.ends),
            accesses=AccessColumns(*accesses),
            names=tuple(self.names),
            digests=digests_of(self.digests),
            code_states=tuple(self.code_states),
            streams=tuple(self.streams),
            losses=tuple(self.losses),
            tags=tuple(self.tags),
            metrics=tuple(self.metrics),
            recipe=RecipeRows(environments=tuple(self.environments)),
            capture_id=self.capture_id,
            marks=tuple(self.marks),
            accounts=tuple(self.accounts),
        )
        for each in fields(self):
            if isinstance(taken := getattr(self, each.name), list):
                taken.clear()
        return batch


@dataclass(slots=True)
class Machine:
    """A host whose batches go through a Deriver into a store."""

    store: Store
    make_deriver: Callable[[Writer], Deriver]
    host: Host = field(default_factory=Host)
    deriver: Deriver | None = None
    stored_paths: int = 0
    stored_artifacts: int = 0

    def deliver(self) -> None:
        """Store and derive everything since the last call."""
        batch = self.host.batch()
        self.store.write(lambda writer: self._store(batch, writer)).result()

    def restart(self) -> None:
        """Forget all memory, as a collector that starts anew."""
        self.deriver = None

    def rows(self, sql: str, params: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Read."""
        with self.store.cursor() as reader:
            return reader.rows(sql, params)

    def edges(self) -> set[tuple[str, str, str]]:
        """Return the dependencies as (command, command it depends on, strength)."""
        return set(
            self.rows(
                "SELECT c.command, p.command, d.strength FROM run_dependencies d "
                "JOIN run c ON c.run_id = d.child_run_id JOIN run p ON p.run_id = d.parent_run_id"
            )
        )

    def _store(self, batch: ResolvedBatch, writer: Writer) -> None:
        if not writer.rows("SELECT * FROM host"):
            writer.execute("INSERT INTO host VALUES (1, 'node', 'm')")
        if (batch.boot_id,) not in writer.rows("SELECT boot_id FROM boot"):
            boot = (batch.boot_id, "boot-uuid" if batch.boot_id == 1 else f"boot-{batch.boot_id}")
            writer.execute("INSERT INTO boot VALUES (?, ?, 1)", boot)
        capture = (batch.capture_id, f"e{batch.capture_id}", batch.boot_id)
        if capture not in writer.rows("SELECT capture_id, epoch, boot_id FROM capture"):
            writer.execute("INSERT INTO capture VALUES (?, ?, ?)", capture)
        if self.deriver is None:
            self.deriver = self.make_deriver(writer)
        self._store_dictionaries(batch, writer)
        described = rows.newest_description(batch.processes)
        for row in described:
            writer.execute("DELETE FROM process WHERE process_id = ?", (row.process_id,))
        writer.append("process", rows.columns_of(described))
        writer.append("access", rows.access_columns(batch.accesses))
        for name, table in rows.ROW_TABLES.items():
            writer.append(table, rows.columns_of(getattr(batch, name)))
        writer.append("version_digest", rows.digest_columns(batch.digests))
        self.deriver.apply([batch], writer)

    def _store_dictionaries(self, batch: ResolvedBatch, writer: Writer) -> None:
        host = self.host
        paths = list(host.paths.items())[self.stored_paths :]
        self.stored_paths = len(host.paths)
        writer.append("path", {"path_id": [i for _, i in paths], "path": [p for p, _ in paths]})
        if self.deriver and paths:
            self.deriver.take_paths(paths[0][1], [path for path, _ in paths], writer)
        contents = list(host.artifacts.items())[self.stored_artifacts :]
        self.stored_artifacts = len(host.artifacts)
        digests = batch.digests
        sizes = dict(zip(digests.artifact_id.tolist(), digests.size_bytes.tolist(), strict=True))
        writer.append(
            "artifact",
            {
                "artifact_id": [number for _, number in contents],
                "blake3": [blake3_of(content) for content, _ in contents],
                "size_bytes": [sizes[number] for _, number in contents],
                "first_seen_ns": [NOON_NS for _ in contents],
            },
        )
        versions = sorted(set(digests.version_id.tolist()))
        writer.append(
            "file_version",
            {
                "version_id": versions,
                "boot_id": [1 for _ in versions],
                "capture_id": [1 for _ in versions],
                "device": [1 for _ in versions],
                "inode": versions,
                "generation": [0 for _ in versions],
                "version": [0 for _ in versions],
            },
        )


def digests_of(given: Sequence[Digest]) -> DigestColumns:
    """Return digests as columns."""
    numbers = np.array([(*row[:4], *row[5:]) for row in given], np.int64).reshape(-1, 6)
    return DigestColumns(
        version_id=numbers[:, 0],
        state=numbers[:, 1],
        artifact_id=numbers[:, 2],
        size_bytes=numbers[:, 3],
        reason=np.array([row[4] for row in given], np.object_),
        at_unix_ns=numbers[:, 4],
        path_id=numbers[:, 5],
    )


def blake3_of(content: str) -> bytes:
    """Return a made-up digest that begins with the content's text."""
    return content.encode().ljust(32, b"\x01")[:32]


def digest_of(content: str) -> str:
    """Return the made-up digest as it is written."""
    return "blake3:" + blake3_of(content).hex()
