"""Records, texts and a world of small parts that the tests of the daemon's core share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from whence_proto.v1 import ingest_pb2 as wire
from whenced.event import Event, FileKey
from whenced.file_state import FileState
from whenced.hash_jobs import HashJobs
from whenced.hash_messages import HashReply, HashRequest, HashState
from whenced.hash_open import fstat_probe
from whenced.observer import Observer
from whenced.processes import Processes
from whenced.record import Kind, Part
from whenced.resolve import Resolver
from whenced.rows import AccessRow, DigestRow, FileVersion, ProcessKey
from whenced.text import TextStore
from whenced.versions import Versions

T = TypeVar("T")

MS = 1_000_000
SECOND_NS = 1_000 * MS
NOW_NS = 5_000 * SECOND_NS
START_S = 77
OUR_MOUNTS = 4026531840
DEVICE = 8 << 20 | 1
FILE = FileKey(DEVICE, 42, 7)
OTHER_FILE = FileKey(DEVICE, 43, 9)
SHELL = ProcessKey(100, 1_000, 0)
READER = ProcessKey(101, 2_000, 0)
WRITER = ProcessKey(102, 3_000, 0)
EPOCH = 1 << 32  # the upper half of a version counts epochs
ONE = EPOCH + 1  # the first write of the first epoch


def event(kind: int = Kind.READ, **fields: Any) -> Event:
    """Return a record of READER on FILE at NOW_NS, with what the test names changed."""
    values: dict[str, Any] = dict.fromkeys(Event._fields, 0)
    values |= {
        "at_ns": NOW_NS,
        "tgid": READER.tgid,
        "start_ns": READER.start_ns,
        "exec_id": 1,
        "device": FILE.device,
        "inode": FILE.inode,
        "generation": FILE.generation,
        "mount_ns": OUR_MOUNTS,
        "size_bytes": 10,
        "mtime_ns": 1,
        "fd": 3,
        "name": b"test",
        "kind": kind,
    }
    return Event(**(values | fields))


def of(process: ProcessKey) -> dict[str, Any]:
    """Return the fields of a record that name its process."""
    return {"tgid": process.tgid, "start_ns": process.start_ns}


def on(file: FileKey) -> dict[str, Any]:
    """Return the fields of a record that name its file."""
    return {"device": file.device, "inode": file.inode, "generation": file.generation}


def walked(path: bytes) -> bytes:
    """Return a path as the kernel side sends it: leaf first, each name ended by NUL."""
    return b"".join(name + b"\0" for name in reversed(path.split(b"/")[1:]) if name)


def store_of(texts: dict[int, dict[Part, bytes]]) -> TextStore:
    """Return a store that holds texts by id and part; paths are given as paths."""
    store = TextStore()
    store.add(
        (text_id, part, 0, 0, raw)
        for text_id, parts in texts.items()
        for part, raw in parts.items()
    )
    return store


@dataclass
class FixedNames:
    """Names of a host that knows one user and one control group."""

    arguments_by_tgid: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    environment_by_tgid: dict[int, bytes] = field(default_factory=dict)

    def user(self, uid: int) -> str | None:
        """Name only user 1000."""
        return "alice" if uid == 1000 else None

    def cgroup(self, cgroup_id: int) -> str | None:
        """Name only control group 5."""
        return "/user.slice" if cgroup_id == 5 else None

    def arguments(self, tgid: int) -> tuple[bytes, ...]:
        """Give the arguments that the test put down."""
        return self.arguments_by_tgid.get(tgid, ())

    def environment(self, tgid: int) -> bytes:
        """Give the environment that the test put down."""
        return self.environment_by_tgid.get(tgid, b"")


@dataclass
class Files:
    """Versions, with its requests answered by the test, and its rows by kind."""

    states_limit: int = 1_000
    accesses: list[AccessRow] = field(default_factory=list)
    digests: list[DigestRow] = field(default_factory=list)
    holds: list[HashRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the part under test."""
        self.versions = Versions(START_S, HashJobs(OUR_MOUNTS), states_limit=self.states_limit)

    def touch(
        self, kind: int, version: int = 0, process: ProcessKey = READER, path: bytes = b"/data/f",
        **fields: Any,
    ) -> FileVersion:  # fmt: skip
        """Send a touch."""
        record = event(kind, version=version, **(of(process) | fields))
        return self.versions.on_touch(record, process, path)

    def write(self, version: int, process: ProcessKey = WRITER, **fields: Any) -> FileVersion:
        """Send the first write of an epoch by a process."""
        return self.touch(Kind.WRITE, version, process, **fields)

    def read(self, version: int, process: ProcessKey = READER, **fields: Any) -> FileVersion:
        """Send the first read of an epoch by a process."""
        return self.touch(Kind.READ, version, process, **fields)

    def close(self, version: int, **fields: Any) -> None:
        """Send the close of a descriptor that could write."""
        self.versions.on_close(event(Kind.CLOSE_WRITE, version=version, **fields))

    def requests(self, now_ns: int = NOW_NS) -> list[HashRequest]:
        """Let time come to ``now_ns`` and take the requests for a digest that are due."""
        self.versions.tick(now_ns)
        jobs = self.versions.jobs
        taken, jobs.requests = jobs.requests, []
        self.holds += [request for request in taken if request.hold_only]
        return [request for request in taken if not request.hold_only]

    def request(self, now_ns: int = NOW_NS) -> HashRequest:
        """Take the one request that must be there."""
        (request,) = self.requests(now_ns)
        return request

    def reply(
        self, request: HashRequest, state: HashState = "verified", now_ns: int = NOW_NS,
        content: bytes = b"", **fields: Any,
    ) -> None:  # fmt: skip
        """Answer a request; ``content`` stands for its own digest."""
        values: dict[str, Any] = {"blake3": content, "at_ns": now_ns, "size_bytes": 10} | fields
        self.versions.on_reply(HashReply(request.ticket, state, **values), now_ns)

    def rows(self) -> None:
        """Take the rows that came into being, by kind."""
        for row in self.versions.out.take():
            if isinstance(row, AccessRow):
                self.accesses.append(row)
            else:
                self.digests.append(row)

    def bound(self, op: int = wire.ACCESS_OP_READ) -> list[FileVersion]:
        """Return the versions that accesses of a kind belong to, in the order of the rows."""
        self.rows()
        return [row.file for row in self.accesses if row.op == op]

    def contents(self) -> dict[FileVersion, bytes]:
        """Return the content that was published for each version."""
        self.rows()
        verified = wire.DIGEST_STATE_VERIFIED
        return {row.file: row.blake3 for row in self.digests if row.state == verified}

    def refusals(self) -> dict[FileVersion, str]:
        """Return the reason of each version that was told to have no digest."""
        self.rows()
        verified = wire.DIGEST_STATE_VERIFIED
        return {row.file: row.reason or "" for row in self.digests if row.state != verified}

    def state(self, key: FileKey = FILE) -> FileState:
        """Return what is known of a file that was met."""
        found = self.versions.of_key(key)
        if found is None:
            raise KeyError(key)
        return found


def version(epoch: int, remark: int = 0, file: FileKey = FILE) -> FileVersion:
    """Return a version on the wire: start (from bit 38), epoch (from bit 16), remark."""
    return FileVersion(*file, START_S << 38 | epoch << 16 | remark)


def written(content: bytes = b"model", number: int = ONE) -> Files:
    """Return files of which one was written in one epoch and hashed at ``number``."""
    files = Files()
    files.write(ONE)
    files.close(number)
    files.reply(files.request(NOW_NS + SECOND_NS), content=content, version=number)
    return files


def rows_of(kind: type[T], rows: Iterable[object]) -> list[T]:
    """Return the rows of one kind."""
    return [row for row in rows if isinstance(row, kind)]


@dataclass
class Daemon:
    """An observer on a host without files, or with those below ``root``."""

    root: Path = Path("/no such root")
    texts: TextStore = field(default_factory=TextStore)
    next_text: int = 1

    def __post_init__(self) -> None:
        """Build the part under test."""
        self.versions = Versions(START_S, HashJobs(OUR_MOUNTS))
        resolver = Resolver(
            fstat_probe, root_of=lambda _: os.fsencode(self.root), mounts_of=lambda _: b""
        )
        self.processes = Processes(FixedNames())
        self.observer = Observer(self.processes, self.versions, resolver)

    def see(self, kind: int, parts: dict[Part, bytes] | None = None, **fields: Any) -> None:
        """Send a record and its texts."""
        if parts is not None:
            fields["text"] = self.next_text
            self.texts.add((self.next_text, part, 0, 0, raw) for part, raw in parts.items())
            self.next_text += 1
        self.observer.handle([event(kind, **fields)], self.texts)

    def touch(self, kind: int, path: bytes, version: int = 0, **fields: Any) -> None:
        """Send a touch of a path."""
        self.see(kind, {Part.PATH: walked(path)}, version=version, **fields)

    def name(
        self, kind: int, old: bytes, new: bytes | None = None, dentry: bytes | None = None,
        **fields: Any,
    ) -> None:  # fmt: skip
        """Send a rename, link, deletion or truncation, of names in the working directory.

        Unless the test says which file it was and where its dentry is, the kernel does not know.
        """
        root = walked(b"/")
        base = walked(b"/out")
        parts = {Part.USER_OLD: old + b"\0", Part.BASE_OLD: root if old[:1] == b"/" else base}
        if new is not None:
            parts |= {Part.USER_NEW: new + b"\0", Part.BASE_NEW: base}
        if dentry is not None:
            parts[Part.PATH] = walked(dentry)
        self.see(kind, parts, **({"inode": 0} | fields))

    def run(self, path: bytes, *arguments: bytes, **fields: Any) -> None:
        """Send an exec."""
        raw = b"".join(argument + b"\0" for argument in arguments)
        cwd = fields.pop("cwd", b"/home/alice")
        parts = {Part.PATH: walked(path), Part.ARGS: raw, Part.CWD: walked(cwd)}
        self.see(Kind.EXEC, parts, **fields)

    def rows(self, kind: type[T]) -> list[T]:
        """Take all rows and return those of one kind."""
        return rows_of(kind, self.observer.take_rows())

    def hashed(self, content: bytes, number: int, now_ns: int = NOW_NS + SECOND_NS) -> None:
        """Answer the one request that is due with a digest."""
        self.versions.tick(now_ns)
        (request,) = self.versions.jobs.requests
        self.versions.jobs.requests.clear()
        reply = HashReply(request.ticket, "verified", content, size_bytes=10, version=number)
        self.observer.on_reply(reply, now_ns)
