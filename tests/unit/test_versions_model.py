"""One file, written, cut, read and hashed in any order: no read is told what it did not see.

The reference is a kernel that counts versions as bpf/touches.bpf.c does, and a list of contents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.daemon_samples import (
    EPOCH,
    FILE,
    MS,
    NOW_NS,
    OTHER_FILE,
    SECOND_NS,
    WRITER,
    Files,
    event,
    of,
    on,
)

from whence_proto.v1 import ingest_pb2 as wire
from whenced.hash_messages import ANY, HashReply, HashRequest, HashState
from whenced.record import Flag, Kind
from whenced.rows import FileVersion, ProcessKey

PATH = b"/data/f"
WRITES = (wire.ACCESS_OP_WRITE, wire.ACCESS_OP_TRUNCATE)


@dataclass
class World:
    """A file, the kernel's count of it, a ring of records, a hasher, and what each read saw."""

    files: Files = field(default_factory=lambda: Files(states_limit=1))
    now_ns: int = NOW_NS
    content: int = 0  # stands for the bytes; every change gives new ones
    number: int = 0
    pending: bool = False
    writers: int = 0
    told_epoch: int | None = None
    ring: deque[Callable[[], object]] = field(default_factory=deque)
    asked: deque[HashRequest] = field(default_factory=deque)
    answers: deque[HashReply] = field(default_factory=deque)
    saw: dict[ProcessKey, int] = field(default_factory=dict)

    # --- what programs do --------------------------------------------------------------------

    def open(self, draw: int) -> None:
        """Open for writing, at an odd draw emptying the file."""
        self.writers += 1
        if draw % 2:
            self._changed(EPOCH)
            self._touch(Kind.OPEN_WRITE, flags=int(Flag.TRUNCATED))
        else:
            self.pending = True
            self._touch(Kind.OPEN_WRITE)

    def write(self, draw: int) -> None:
        """Write; the kernel tells of it once an epoch, and again when its table was swapped."""
        if not self.writers:
            return
        self._changed(EPOCH + 1 if self.pending or not self.number else 1)
        if self.told_epoch != self.number >> 32 or draw % 3 == 0:
            self.told_epoch = self.number >> 32
            self._touch(Kind.WRITE)

    def close(self, _: int) -> None:
        """Close one of the descriptors."""
        if self.writers:
            self.writers -= 1
            record = self._event(Kind.CLOSE_WRITE, WRITER)
            self.ring.append(lambda: self.files.versions.on_close(record))

    def read(self, _: int) -> None:
        """Read as a process of its own, so that the row of the read can be told apart."""
        reader = ProcessKey(1_000 + len(self.saw), 1, 0)
        self.saw[reader] = self.content
        self._touch(Kind.READ, reader)

    def cut(self, _: int) -> None:
        """Run truncate(2): the kernel side knows no version of it."""
        self.content += 1
        record = self._event(Kind.TRUNCATE_PATH, WRITER)
        versions = self.files.versions

        def arrive() -> None:
            state = versions.at_path(record.mount_ns, PATH) or versions.met(FILE, PATH, record)
            versions.truncated(state, record, WRITER)

        self.ring.append(arrive)

    def crowd(self, _: int) -> None:
        """Touch another file: there is room for one only."""
        record = event(Kind.OPEN_WRITE, at_ns=self.now_ns, **on(OTHER_FILE))
        self.ring.append(lambda: self.files.versions.on_touch(record, WRITER, b"/other"))

    def _changed(self, by: int) -> None:
        self.content += 1
        self.number += by
        self.pending = self.pending and by == 1

    def _event(self, kind: int, process: ProcessKey, **fields: Any) -> Any:
        values = {"version": self.number, "at_ns": self.now_ns, "mtime_ns": self.content}
        return event(kind, **{**values, **of(process), "size_bytes": self.content} | fields)

    def _touch(self, kind: int, process: ProcessKey = WRITER, **fields: Any) -> None:
        record = self._event(kind, process, **fields)
        self.ring.append(lambda: self.files.versions.on_touch(record, process, PATH))

    # --- what happens meanwhile --------------------------------------------------------------

    def drain(self, draw: int) -> None:
        """Take some records out of the ring."""
        for _ in range(min(draw % 4 + 1, len(self.ring))):
            self.ring.popleft()()

    def wait(self, draw: int) -> None:
        """Let time pass."""
        self.now_ns += (MS, 30 * MS, 600 * MS, 6 * SECOND_NS)[draw % 4]
        self.asked.extend(self.files.requests(self.now_ns))

    def hash(self, _: int) -> None:
        """Answer the oldest request, as hash_file.py would."""
        if not self.asked:
            return
        request = self.asked.popleft()
        found: dict[str, Any] = {"state": "verified", "version": self.number}
        if request.version not in (ANY, self.number):
            found = {"state": "torn", "version": ANY}
        elif self.writers:
            found = {"state": "busy", "version": ANY}
        if found["state"] == "verified":
            found |= {"blake3": b"%d" % self.content, "size_bytes": self.content}
        self.answers.append(HashReply(request.ticket, **found))

    def fail(self, draw: int) -> None:
        """Answer the oldest request without a digest."""
        if self.asked:
            state: HashState = "torn" if draw % 2 else "unhashed"
            self.answers.append(HashReply(self.asked.popleft().ticket, state, reason="no"))

    def answer(self, _: int) -> None:
        """Have the daemon take the oldest answer."""
        if self.answers:
            self.files.versions.on_reply(self.answers.popleft(), self.now_ns)

    def rest(self) -> None:
        """Close what is open and wait until nothing is left to do."""
        while self.writers:
            self.close(0)
        while self.ring:
            self.drain(3)
        for _ in range(30):
            self.wait(3)
            self.hash(0)
            self.answer(0)


ACTIONS = ("open", "write", "close", "read", "drain", "wait", "hash", "answer")
RARE = (*ACTIONS, "cut", "fail", "crowd")


def steps(actions: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(actions), st.integers(0, 11)), max_size=60)


def played(story: list[tuple[str, int]]) -> World:
    world = World()
    for name, draw in story:
        getattr(world, name)(draw)
    world.rest()
    world.files.rows()
    return world


def lies(world: World) -> list[tuple[int, bytes]]:
    """Return (content seen, content told) of each read that was told another than it saw."""
    told = [
        (world.saw[row.file_reader], digest.blake3)
        for row in world_reads(world)
        for digest in world.files.digests
        if digest.file == row.version and digest.state == wire.DIGEST_STATE_VERIFIED
    ]
    return [(saw, content) for saw, content in told if content != b"%d" % saw]


@dataclass(frozen=True)
class Read:
    """Which version a reader was told to have read."""

    file_reader: ProcessKey
    version: FileVersion


def world_reads(world: World) -> list[Read]:
    return [
        Read(row.process, row.file)
        for row in world.files.accesses
        if row.op == wire.ACCESS_OP_READ and row.process in world.saw
    ]


def unanswered(world: World) -> list[FileVersion]:
    """Return versions that were touched and got neither a digest nor a reason."""
    answered = {row.file for row in world.files.digests}
    touched = {row.file for row in world.files.accesses}
    return sorted(touched - answered)


@settings(max_examples=300, deadline=None)
@given(steps(ACTIONS))
def test_a_read_is_never_told_what_it_did_not_see(story: list[tuple[str, int]]) -> None:
    world = played(story)

    assert lies(world) == []


CUT_MEANWHILE = [(name, 0) for name in ("read", "drain", "wait", "cut", "hash", "answer")]
CUT_AND_OPEN = [("open", 1), ("read", 0), ("close", 0), ("drain", 3), *CUT_MEANWHILE[2:]]
CUT_AFTER_READ = [("open", 1), ("read", 0), ("cut", 0)]
# A read waits for longer than it may, and the numbers of half-written versions come round.
TOO_LONG = [("open", 1), ("read", 0), ("drain", 3), ("wait", 3), ("hash", 0), ("answer", 0)]


@settings(max_examples=300, deadline=None)
@given(steps(RARE))
@example(CUT_MEANWHILE)
@example(CUT_AND_OPEN)
@example(CUT_AFTER_READ)
@example([*TOO_LONG, ("cut", 0)])
@example([*TOO_LONG, ("close", 0), ("drain", 3), ("cut", 0)])
def test_nor_when_the_hasher_fails_and_files_are_cut_and_forgotten(
    story: list[tuple[str, int]],
) -> None:
    world = played(story)

    assert lies(world) == []


@settings(max_examples=200, deadline=None)
@given(steps(RARE))
def test_every_read_is_told_once_the_file_is_at_rest(story: list[tuple[str, int]]) -> None:
    world = played(story)

    assert sorted(read.file_reader for read in world_reads(world)) == sorted(world.saw)


@settings(max_examples=300, deadline=None)
@given(steps(RARE))
def test_every_version_gets_a_digest_or_a_reason(story: list[tuple[str, int]]) -> None:
    world = played(story)

    assert unanswered(world) == []


@settings(max_examples=300, deadline=None)
@given(steps(ACTIONS))
def test_the_last_writer_is_told_the_content_at_rest(story: list[tuple[str, int]]) -> None:
    world = played([*story, ("wait", 3), ("open", 1), ("write", 0)])

    last = [row.file for row in world.files.accesses if row.op in WRITES][-1]
    assert world.files.contents()[last] == b"%d" % world.content


@settings(max_examples=200, deadline=None)
@given(steps((*ACTIONS, "fail", "crowd")))
def test_who_reads_the_content_at_rest_reads_its_writers_version(
    story: list[tuple[str, int]],
) -> None:
    world = played([*story, ("wait", 3), ("open", 1), ("write", 0)])
    world.read(0)
    world.rest()
    world.files.rows()

    last = [row.file for row in world.files.accesses if row.op in WRITES][-1]
    assert world_reads(world)[-1].version == last
    assert world.files.contents()[last] == b"%d" % world.content
