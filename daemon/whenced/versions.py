"""Touches and digests to file versions: which content each access belongs to. Pure state.

Time and hash results are given; rows and hash requests come out. The rules are
those of docs/design/0001-the-spine.md.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced.file_state import Counts, FileState, PendingRead, is_of_size
from whenced.hash_jobs import RETRY_NS, HashJobs, is_worth_retrying
from whenced.hash_messages import ANY, DIGESTED
from whenced.path_index import PathIndex
from whenced.record import Flag, Kind
from whenced.rows import FileVersion, ProcessKey, text_of
from whenced.version_rows import OPS, READ, READS, SEEN, SEEN_BY, VersionRows, flags_of

if TYPE_CHECKING:
    from whenced.event import Event, FileKey
    from whenced.hash_messages import HashReply

_NAMELESS: Final = int(Flag.NAMELESS)
_OVERLAPPED: Final = int(Flag.OVERLAPPED)
_MS: Final = 1_000_000
# A read of a file that stays open for writing is told after this long as half-written.
_PENDING_NS: Final = 5_000 * _MS
# A file that stays open for writing is held by a descriptor after this long: its bytes outlive a
# rename over it or an unlink right after the close.
_HOLD_NS: Final = 200 * _MS
# About 25 MB. One that was dropped is met again; its digest then comes from the stat cache.
_MAX_STATES: Final = 40_000
# Most writers rename right after the close: then the bytes are under the new name.
_RENAME_NS: Final = 3 * _MS
_OVERWRITTEN: Final = "overwritten before its bytes could be read"


@dataclass(slots=True)
class Versions:
    """Every file that a process in scope touched lately."""

    start: int  # number of the capture among those of the boot
    jobs: HashJobs
    out: VersionRows = field(default_factory=VersionRows)
    _states: OrderedDict[FileKey, FileState] = field(default_factory=OrderedDict)
    _names: PathIndex = field(default_factory=PathIndex)
    _by_writer: dict[int, set[FileKey]] = field(default_factory=dict)
    sealed_outputs: int = 0
    states_limit: int = _MAX_STATES
    _unseen: dict[FileKey, int] = field(default_factory=dict)  # of files that were forgotten

    # --- touches ----------------------------------------------------------------------------

    def on_touch(self, event: Event, process: ProcessKey, path: bytes) -> FileVersion:
        """A first read, write, map, execute, truncate or open for writing."""
        state = self.state_of(event, path)
        kind = event.kind
        if kind in READS:
            return self._on_read(state, event, process)
        if kind == Kind.OPEN_WRITE:
            return self._on_open(state, event, process)
        return self._on_write(state, event, process, OPS[kind])

    def settled(
        self, identity: tuple[int, int, int], content: tuple[int, int, int], path: bytes
    ) -> FileState | None:
        """The file of a read that changes nothing known of it; None: on_touch() has to look.

        ``content`` is (version, size in bytes, mtime) as the read saw it.
        """
        key: Any = identity  # equal to its FileKey
        state: FileState | None = self._states.get(key)
        if state is None or not state.is_settled(content, path):
            return None
        if content[0] >> 32 == state.number >> 32:
            state.promised = content[0]
        self._states.move_to_end(state.key)
        return state

    def adopt(self, state: FileState) -> bool:
        """Take a file by its first read, unwritten; False when something is known of it."""
        if state.key in self._states or state.key in self._unseen:
            return False
        self._states[state.key] = state
        self._names.put(state.mount_ns, state.path, state.key)
        state.promised = 0
        self.jobs.request(state)
        return True

    def on_close(self, event: Event) -> None:
        """A descriptor that could write was closed: perhaps the last."""
        state = self._states.get(event.file)
        if state is None:
            return
        if event.version >> 32 == state.epoch:
            state.number = max(state.number, event.version)
        self._look_again(state, event.at_ns + _RENAME_NS)

    def on_exit(self, tgid: int, now_ns: int) -> None:
        """A process ended: what it had open for writing is closed in a moment."""
        for key in self._by_writer.pop(tgid, ()):
            if (state := self._states.get(key)) is not None:
                self._look_again(state, now_ns + _MS)

    def _look_again(self, state: FileState, at_ns: int) -> None:
        """A writer let go: what could not be read before may be readable now."""
        if state.failed:
            state.sealed, state.failed = None, False
        if state.dirty_since_ns is not None or (state.epoch and state.sealed != state.number):
            state.tries = 0
            self.jobs.schedule(state, at_ns)

    def on_seen(self, event: Event, process: ProcessKey, path: bytes) -> None:
        """A descriptor or mapping from before the start; one that can write has not written yet."""
        state, flags = self.state_of(event, path), event.flags
        if flags & Flag.WRITABLE:
            self._by_writer.setdefault(event.tgid, set()).add(state.key)
            if not flags & Flag.MAPPED:
                return
        op, version = SEEN[flags & SEEN_BY], state.version(event.version)
        state.promised = event.version
        self.out.access(state, event, process, op, version, wire.ACCESS_FLAG_SNAPSHOT, ops=0)
        self._want(state)

    def _on_read(self, state: FileState, event: Event, process: ProcessKey) -> FileVersion:
        kind, number = event.kind, event.version
        op, version = OPS[kind], state.version(number)
        ops = 0 if kind == READ else 1  # reads are counted by the aggregate
        settled = not event.flags & _OVERLAPPED and state.saw_sealed(number, event.size_bytes)
        # a linker reads back what it wrote: its own output, never an input
        if settled or self.out.is_writing(process, state.key, version):
            if settled and number >> 32 == state.number >> 32:
                state.promised = number
            self.out.access(state, event, process, op, version, 0, ops=ops)
            if settled and state.sealed is None:
                self._want(state)
            return version
        self._begin_epoch(state, number)  # of several writes only the first is told
        state.number = max(state.number, number)
        pending = PendingRead(
            process, op, number, event.size_bytes, event.at_ns, text_of(state.path),
            flags_of(event), event.mount_ns, Counts(ops, 0, event.at_ns),
        )  # fmt: skip
        bound = self.out.bind(process, state, event)
        bound.pending, bound.read = pending, None
        if event.flags & _OVERLAPPED:
            self.out.settle_overlapped(state, pending)
        else:
            state.pending += (pending,)
        self.jobs.schedule(state, event.at_ns)
        return version

    def _on_open(self, state: FileState, event: Event, process: ProcessKey) -> FileVersion:
        self._by_writer.setdefault(event.tgid, set()).add(state.key)
        if event.flags & Flag.CREATED:
            return self._on_write(state, event, process, wire.ACCESS_OP_WRITE)
        if event.flags & Flag.TRUNCATED:
            return self._on_write(state, event, process, wire.ACCESS_OP_TRUNCATE)
        return state.version(event.version)

    def _on_write(
        self, state: FileState, event: Event, process: ProcessKey, op: int
    ) -> FileVersion:
        self._begin_epoch(state, event.version)
        state.number = max(state.number, event.version)
        if event.version >> 32 < state.epoch:  # the hasher was ahead of the rings
            self.out.refuse(state, state.version(event.version), "torn", _OVERWRITTEN)
        elif state.dirty_since_ns is None:
            state.dirty_since_ns = event.at_ns
            state.tries = 0
            self.jobs.schedule(state, event.at_ns + RETRY_NS[2])
        self._by_writer.setdefault(event.tgid, set()).add(state.key)
        version = state.version(event.version)
        self.out.access(state, event, process, op, version, 0, ops=0)
        bound = self.out.bind(process, state, event)
        bound.write = version
        if op == wire.ACCESS_OP_WRITE:
            bound.write_op = op
        return version

    def _begin_epoch(self, state: FileState, number: int) -> None:
        """What of an older epoch was not sealed by now can only come from a job in flight."""
        if number >> 32 <= state.epoch:
            return
        if state.owes_answer:
            state.lost_epochs += (state.number,)
            if state.ticket is None:
                self._give_up_lost(state)
        state.number, state.dirty_since_ns, state.held = number, None, False
        state.promised, state.failed = None, False

    def _give_up_lost(self, state: FileState, sealed: int | None = None) -> None:
        for number in state.lost_epochs:
            if sealed is None or number >> 32 != sealed >> 32:
                self.out.refuse(state, state.version(number), "torn", _OVERWRITTEN)
        state.lost_epochs = ()

    # --- names ------------------------------------------------------------------------------

    def at_path(self, mount_ns: int, path: bytes) -> FileState | None:
        """The file that was last seen under a name."""
        key = self._names.get(mount_ns, path)
        return None if key is None else self._states.get(key)

    def renamed(self, mount_ns: int, old: bytes, new: bytes, *, directory: bool) -> None:
        """A file or a directory has another name: look for its bytes there."""
        for key, after in self._names.move(mount_ns, old, new, directory=directory):
            if (state := self._states.get(key)) is not None:
                state.path = after

    def linked(self, mount_ns: int, new: bytes, state: FileState) -> None:
        """A file got a (further) name: the newest is where it is looked for."""
        self._names.put(mount_ns, new, state.key)
        state.path = new

    def of_key(self, key: FileKey | None) -> FileState | None:
        """The file of an identity, when it was touched lately."""
        return None if key is None else self._states.get(key)

    def met(self, key: FileKey, path: bytes, event: Event) -> FileState:
        """A file that only a path led to."""
        state = self._states.setdefault(key, FileState(key, self.start, path))
        state.mount_ns, state.tgid = event.mount_ns, event.tgid
        self._names.put(event.mount_ns, path, key)
        return state

    def truncated(self, state: FileState, event: Event, process: ProcessKey) -> None:
        """Content changed by a call that carries no descriptor (truncate by path)."""
        self._changed_unseen(state)
        state.dirty_since_ns = event.at_ns
        self.jobs.schedule(state, event.at_ns)
        version = state.version(state.number)
        self.out.access(state, event, process, wire.ACCESS_OP_TRUNCATE, version, 0, ops=1)

    # --- hash jobs --------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Issue the hash jobs that are due."""
        for key in self.jobs.due(now_ns):
            if (state := self._states.get(key)) is not None and state.wants_reading:
                self.jobs.request(state)
        for _ in range(len(self._states) - self.states_limit):  # not more: all may be needed
            self._drop_oldest()

    def on_reply(self, reply: HashReply, now_ns: int) -> None:
        """A hash job was answered."""
        asked = self.jobs.answered(reply.ticket)
        if asked is None:
            return
        key, wanted = asked
        state = self._states.get(key)
        if state is None:
            return
        state.ticket = None
        if state.asked_unseen != state.unseen:
            state.again = True  # read before or after that change: nobody knows
        elif reply.state == "busy":
            self._on_busy(state, now_ns)
        elif wanted == 0:
            self._on_first_version(state, reply, now_ns)
        else:
            self._on_current(state, reply, now_ns)
        if state.again:
            state.again = False
            self.jobs.schedule(state, now_ns)

    def _on_busy(self, state: FileState, now_ns: int) -> None:
        waited = [read for read in state.pending if read.at_ns < now_ns - _PENDING_NS]
        state.pending = tuple(read for read in state.pending if read not in waited)
        for read in waited:
            state.loose += (read,)
            self.out.settle(state, read, state.torn_version(read.number))
        written_long = state.dirty_since_ns is not None and state.dirty_since_ns < now_ns - _HOLD_NS
        if written_long and not state.held:
            self.jobs.hold(state)
        self.jobs.retry(state, now_ns)

    def _on_first_version(self, state: FileState, reply: HashReply, now_ns: int) -> None:
        """Content from before capture: exact version 0 was asked for."""
        if is_worth_retrying(reply, state.tries) and reply.version <= 0 and not state.epoch:
            self.jobs.retry(state, now_ns)
            return
        if not is_of_size(reply, state.size_bytes) and not state.epoch:
            self._changed_unseen(state)
            self.jobs.schedule(state, now_ns)
            return
        self._give_up_lost(state, 0)
        self.out.digest(state, state.version(0), reply)
        self.sealed_outputs += 1  # who asks for an output waits for its inputs as well
        if state.epoch == 0:
            state.sealed = 0
            self._resolve(state, 0, reply)

    def _on_current(self, state: FileState, reply: HashReply, now_ns: int) -> None:
        """Whatever version was current: the reply says which."""
        if is_worth_retrying(reply, state.tries):
            self.jobs.retry(state, now_ns)
            return
        number = reply.version if reply.version >= 0 else state.number
        self._begin_epoch(state, number)  # the hasher may be ahead of the rings
        verified = reply.state in DIGESTED
        self._give_up_lost(state, number if verified else None)
        if number >> 32 == state.epoch:
            if verified and state.promised not in (None, number):
                state.unseen += 1  # written after it was told: no longer that version
            state.promised = number if verified else state.promised
            state.failed = not verified
            state.dirty_since_ns = None
            state.held = False
            # the touches are older than the last write and what set its time
            state.size_bytes, state.mtime_ns = reply.size_bytes if verified else ANY, ANY
        self.out.digest(state, state.version(number), reply)
        state.sealed, state.sealed_bytes = number, reply.size_bytes if verified else ANY
        state.number = max(state.number, number)
        self.sealed_outputs += 1
        self._resolve(state, number, reply)

    def _resolve(self, state: FileState, sealed: int, reply: HashReply) -> None:
        """Reads that waited: of the final bytes, or of earlier ones, which nobody has."""
        done = [read for read in state.pending if read.number <= sealed]
        older = tuple(read for read in done if not read.saw_final(sealed, reply))
        for read in [read for read in done if read not in older]:
            state.promised = sealed if sealed >> 32 == state.epoch else state.promised
            self.out.settle(state, read, state.version(sealed))
        state.pending = tuple(read for read in state.pending if read.number > sealed)
        # The numbers of half-written versions are cut short: two may be the same.
        half = [*older, *(read for read in state.loose if not read.saw_final(sealed, reply))]
        torn = {state.torn_version(read.number) for read in half}
        for version in {state.torn_version(read.number) for read in state.loose}:
            if version in torn or state.unseen:
                self.out.tear(state, version)
            else:
                self.out.digest(state, version, reply)
        state.loose = ()
        self.out.settle_torn(state, older)

    def _want(self, state: FileState) -> None:
        """A digest of content that nobody is writing, once."""
        if state.ticket is None and state.sealed is None:
            self.jobs.request(state)

    # --- bookkeeping ------------------------------------------------------------------------

    def state_of(self, event: Event, path: bytes) -> FileState:
        """The file that an event is about, met now if not before."""
        mount_ns, size_bytes, mtime_ns = event.mount_ns, event.size_bytes, event.mtime_ns
        # equal to its FileKey, and made in a fifth of the time
        identity: Any = (event.device, event.inode, event.generation)
        state: FileState | None = self._states.get(identity)
        if state is None:
            key, number = event.file, event.version
            unseen = self._unseen.pop(key, 0) if self._unseen else 0
            state = FileState(key, self.start, path, number=number, unseen=unseen)
            self._states[key] = state
        else:
            self._states.move_to_end(state.key)
            if state.size_bytes != size_bytes or state.mtime_ns != mtime_ns:
                self._notice_unseen(state, event)
        if b"/#" in path and path.endswith(b"/#%d" % event.inode):
            path = state.path  # made without a name (O_TMPFILE): it may have got one since
        if path != state.path:
            self._names.forget(state.mount_ns, state.path, state.key)
            state.path = path
        if event.flags & _NAMELESS:
            self._names.propose(mount_ns, path, state.key)
        else:
            self._names.put(mount_ns, path, state.key)
        state.mount_ns, state.magic = mount_ns, event.magic
        state.tgid, state.fd = event.tgid, event.fd
        state.size_bytes, state.mtime_ns = size_bytes, mtime_ns
        return state

    def _notice_unseen(self, state: FileState, event: Event) -> None:
        """The same number with another size or time: a change that no hook saw."""
        if state.differs(event.version, event.size_bytes, event.mtime_ns):
            self._changed_unseen(state)

    def _changed_unseen(self, state: FileState) -> None:
        """Other bytes under the same number: what is not answered by now never will be."""
        self._give_up_lost(state)
        if state.owes_answer:
            self.out.refuse(state, state.version(state.number), "torn", _OVERWRITTEN)
        for read in state.loose:
            self.out.tear(state, state.torn_version(read.number))
        self.out.settle_torn(state, state.pending)
        state.loose, state.pending = (), ()
        state.forget_content()

    def _drop_oldest(self) -> None:
        key, state = self._states.popitem(last=False)
        if state.is_needed:
            self._states[key] = state  # to the young end
            return
        self._names.forget(state.mount_ns, state.path, key)
        if state.unseen:
            self._unseen[key] = state.unseen
