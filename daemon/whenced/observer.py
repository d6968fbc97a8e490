"""Events to rows: joins processes, file versions and names. Owns no thread and no descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from whenced.event import Event, FileKey
from whenced.file_state import Counts
from whenced.hash_messages import CodeRequest, HashReply, InspectReply, Reply
from whenced.inquiries import Inquiries
from whenced.path_scope import PathScope
from whenced.record import USE_KEY, Flag, Kind
from whenced.renames import NameChanges
from whenced.rows import (
    CodeRow,
    ProcessKey,
    Row,
    StreamRow,
    UnseenRow,
    text_of,
)
from whenced.unseen import sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from whenced.processes import Processes
    from whenced.record import Rows
    from whenced.resolve import Resolver
    from whenced.text import Texts, TextStore
    from whenced.versions import Versions

EVERYWHERE: Final = PathScope()
# By number: a member of an enumeration is looked up by a call of its own hash.
_TOUCHES: Final = frozenset(
    map(int, (Kind.READ, Kind.WRITE, Kind.OPEN_WRITE, Kind.MAP, Kind.EXECUTE, Kind.TRUNCATE))
)
_OPEN_WRITE: Final = int(Kind.OPEN_WRITE)
_CLOSE_WRITE: Final = int(Kind.CLOSE_WRITE)
_EXEC: Final = int(Kind.EXEC)
_NAMELESS: Final = int(Flag.NAMELESS)
_LEAF: Final = int(Flag.LEAF)
_FILE_SEEN: Final = int(Kind.FILE_SEEN)
_OPENED: Final = frozenset(map(int, (Kind.PIPE_READ, Kind.PIPE_WRITE, Kind.FILE_SEEN)))
_MAPPED: Final = int(Flag.MAPPED)
_NAMES: Final = frozenset({Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.TRUNCATE_PATH})
_USED: Final = ("read_ops", "read_bytes", "write_ops", "write_bytes", "last_write_ns")
_UNUSED: Final = Counts()  # nobody adds to what was given to on_counts()
# Code requests have tickets of their own space, above those of hash jobs.
_CODE_TICKETS: Final = 1 << 48
# Folders of version managers, which are repositories: their shims' steps are none of the job's.
_VERSION_MANAGERS: Final = (
    b"/.pyenv/", b"/.rbenv/", b"/.nodenv/", b"/.goenv/", b"/.nvm/", b"/.asdf/", b"/.sdkman/",
)  # fmt: skip
_CODE_FRESH_NS: Final = 1_000_000_000
_NO_CODE_LIMIT: Final = 10_000


class Observer:
    """What the kernel side and the hasher say, turned into rows of the wire."""

    def __init__(
        self,
        processes: Processes,
        versions: Versions,
        resolver: Resolver,
        scope: PathScope = EVERYWHERE,
    ) -> None:
        self._processes = processes
        self._scope = scope
        self._scoped = scope != EVERYWHERE
        self._versions = versions
        self._resolver = resolver
        self._rows: list[Row] = []
        self._descriptors: dict[int, dict[int, FileKey]] = {}
        self._names = NameChanges(processes, versions, resolver, scope)
        self._code_asked: dict[int, tuple[ProcessKey, bytes]] = {}
        self._no_code: dict[bytes, int] = {}
        self._next_code_ticket = _CODE_TICKETS
        self.code_requests: list[CodeRequest] = []
        self.inquiries = Inquiries(self._names.root_tgid)
        self.ended = 0

    # --- the kernel side --------------------------------------------------------------------

    def handle(self, events: Iterable[Event], texts: TextStore) -> None:
        """Take events, oldest first; their texts are in the store already."""
        event = None
        for event in events:
            self.take(event, texts)
        if event is not None:
            texts.renew(event.at_ns)

    @property
    def processes(self) -> Processes:
        """Who is who."""
        return self._processes

    def note(self, path: bytes) -> None:
        """Take note of a path that the kernel walked in our own mount namespace."""
        self._resolver.note(path)

    @property
    def is_scoped(self) -> bool:
        """Whether paths decide what is recorded."""
        return self._scoped

    def take(self, event: Event, texts: TextStore) -> None:
        """Take one event."""
        kind = event.kind
        if kind in _TOUCHES:
            self._on_touch(event, self._path(event, texts))
        elif kind == _CLOSE_WRITE:
            self._versions.on_close(event)
        elif kind in _OPENED:
            self._on_opened(event, texts)
        elif kind == _EXEC:
            self._on_exec(event, texts.claim_program(event.text, event.text2))
        else:
            self._on_life_or_name(event, texts.claim(event.text) if event.text else None)

    def _on_life_or_name(self, event: Event, found: Texts | None) -> None:
        kind = event.kind
        if kind == Kind.FORK:
            self._processes.on_fork(event)
            self._inherit_descriptors(event)
        elif kind == Kind.EXIT:
            self._on_exit(event)
        elif kind == Kind.UNMAP:
            self._on_unmap(event)
        elif kind == Kind.UNSEEN:
            process = self._processes.key_of(event)
            self._rows.append(UnseenRow(process, sentence_of(event.value), event.at_ns))
        elif found is not None:
            self._on_told(event, found)

    def _on_told(self, event: Event, found: Texts) -> None:
        """What nothing can be made of without its texts."""
        kind = event.kind
        if kind in _NAMES:
            process = self._processes.key_of(event)
            self._rows += self._names.on_change(event, process, found, self._descriptors)
        elif kind == Kind.PROCESS_SEEN:
            self._on_seen(event, found)

    def _on_touch(self, event: Event, path: bytes) -> None:
        if event.flags & _MAPPED and self._versions.of_key(event.file) is None:
            return  # a layer below the file that was mapped: the mapping's own row says it
        process = self._processes.key_of(event)
        if event.mount_ns == self._versions.jobs.own_mount_ns and not event.flags & _NAMELESS:
            self._resolver.note(path)
        if self._scoped and not self._scope.wants(path):
            return
        if event.kind == _OPEN_WRITE:
            self._descriptors.setdefault(event.tgid, {})[event.fd] = event.file
        file = self._versions.on_touch(event, process, path)
        self.inquiries.touched(event, process, path, file)

    def _path(self, event: Event, texts: TextStore) -> bytes:
        """The path; when the text ring had no room for it the last one, or a name by identity."""
        path = _told_path(event, texts)
        return self._known_path(event) if path is None else path

    def _known_path(self, event: Event) -> bytes:
        known = self._versions.of_key(event.file)
        if known is not None:
            return known.path
        return b"/(path lost)/device %d inode %d" % (event.device, event.inode)

    def _on_exec(self, event: Event, texts: Texts) -> None:
        path = texts.path() or self._known_path(event)
        exe_file = self._versions.state_of(event, path).version(event.version)
        process = self._processes.on_exec(event, texts, exe_file)
        as_touch = event._replace(kind=Kind.EXECUTE)
        self._versions.on_touch(as_touch, process, path)
        self.inquiries.touched(as_touch, process, path, exe_file)
        self.inquiries.contained(event, process, self._processes.cgroup_of(event))
        if process.image:
            before = process._replace(image=process.image - 1)
            self._unmap_all(before, event.at_ns)
        self._note_namespace(event)
        self._ask_code(event, process, texts)

    def _inherit_descriptors(self, event: Event) -> None:
        inherited = self._descriptors.get(event.other_tgid)
        if inherited:
            self._descriptors[event.tgid] = dict(inherited)

    def _on_exit(self, event: Event) -> None:
        process = self._processes.on_exit(event)
        self._descriptors.pop(event.tgid, None)
        namespaces = self._versions.jobs.namespace_tgids
        for mount_ns in [ns for ns, tgid in namespaces.items() if tgid == event.tgid]:
            del namespaces[mount_ns]
        if process is not None:
            self.ended += 1
            self._unmap_all(process, event.at_ns)
            self._versions.on_exit(event.tgid, event.at_ns)

    def _on_unmap(self, event: Event) -> None:
        """What was written through memory was written by now."""
        process = self._processes.key(event.tgid, event.start_ns, event.exec_id)
        if process is not None:
            self._versions.out.unmapped(process, event.file, event.at_ns)
        self._versions.on_close(event)

    def _unmap_all(self, process: ProcessKey, at_ns: int) -> None:
        """Mappings end with the program, uncounted: who read meanwhile may have seen any state."""
        for key in self._versions.out.unmapped_all(process, at_ns):
            if (state := self._versions.of_key(key)) is not None:
                self._versions.out.settle_torn(state, state.pending)
                state.pending = ()

    def _on_opened(self, event: Event, texts: TextStore) -> None:
        """A pipe or FIFO, or a descriptor from before the start."""
        if event.kind != _FILE_SEEN:
            self._on_stream(event, _told_path(event, texts))
            return
        path = self._path(event, texts)
        process = self._processes.key(event.tgid, event.start_ns, event.exec_id)
        if process is not None:
            self._versions.on_seen(event, process, path)

    def _on_stream(self, event: Event, path: bytes | None) -> None:
        name = text_of(path) if path and path != b"/" else None
        self._rows.append(
            StreamRow(
                self._processes.key_of(event),
                event.device,
                event.inode,
                event.kind == Kind.PIPE_WRITE,
                event.at_ns,
                name,
            )
        )

    def _on_seen(self, event: Event, texts: Texts) -> None:
        """A process from before the start."""
        path = texts.path() or b""
        exe = self._versions.state_of(event, path).version(event.version) if path else None
        self._processes.on_seen(event, texts, exe)
        self._note_namespace(event)

    def _note_namespace(self, event: Event) -> None:
        self._versions.jobs.namespace_tgids.setdefault(event.mount_ns, event.tgid)

    # --- aggregates -------------------------------------------------------------------------

    def handle_uses(self, keys: Rows, uses: Rows, now_ns: int) -> None:
        """Take a retired aggregate table: calls and bytes since the last one."""
        on_counts, process_of = self._versions.out.on_counts, self._processes.key
        columns = (keys[name].tolist() for name in USE_KEY.names or ())
        used = (uses[name].tolist() for name in _USED)
        for start_ns, tgid, exec_id, inode, device, generation, *use in zip(
            *columns, *used, strict=True
        ):
            read_ops, read_bytes, write_ops, write_bytes, last_write_ns = use
            process = process_of(tgid, start_ns, exec_id)
            if process is None or not (read_ops or write_ops):
                continue
            on_counts(
                process,
                FileKey(device, inode, generation),
                Counts(read_ops, read_bytes, now_ns) if read_ops else _UNUSED,
                Counts(write_ops, write_bytes, last_write_ns) if write_ops else _UNUSED,
            )

    # --- the hasher -------------------------------------------------------------------------

    def _ask_code(self, event: Event, process: ProcessKey, texts: Texts) -> None:
        cwd = texts.cwd() or b"/"
        if any(folder in cwd + b"/" for folder in _VERSION_MANAGERS):
            return  # a shim looks around in its own folder on the way to the job's program
        arguments = texts.arguments()
        script = arguments[1] if len(arguments) > 1 and b"/" in arguments[1] else b""
        if b"/." in script:  # of a version manager or a tool, whose own repository is not the job's
            script = b""
        if self._no_code.get(cwd, -_CODE_FRESH_NS) > event.at_ns - _CODE_FRESH_NS and not script:
            return
        ticket = self._next_code_ticket
        self._next_code_ticket += 1
        self._code_asked[ticket] = process, b"" if script else cwd
        self.code_requests.append(CodeRequest(ticket, cwd, script, self._names.root_tgid(event)))

    def on_reply(self, reply: Reply, now_ns: int) -> None:
        """Take an answer of the hasher."""
        if isinstance(reply, InspectReply):
            self.inquiries.on_reply(reply)
            return
        if isinstance(reply, HashReply):
            self._versions.on_reply(reply, now_ns)
            return
        process, cwd = self._code_asked.pop(reply.ticket, (None, b""))
        if process is None:
            return
        if not reply.repository:
            self._note_no_code(cwd, now_ns)
            return
        self._rows.append(
            CodeRow(
                process,
                reply.repository,
                reply.commit or None,
                reply.branch or None,
                reply.remote or None,
                reply.dirty,
                reply.modified,
                now_ns,
            )
        )

    def _note_no_code(self, cwd: bytes, now_ns: int) -> None:
        if len(self._no_code) > _NO_CODE_LIMIT:
            self._no_code.clear()
        self._no_code[cwd] = now_ns

    @property
    def process_key(self) -> Callable[[int, int, int], ProcessKey | None]:
        """Return what names a process by (tgid, start, exec id), None for one that nobody met."""
        return self._processes.key

    @property
    def waiting(self) -> int:
        """Rows that take_rows() would give."""
        told = len(self._rows) + len(self.inquiries.rows)
        return self._processes.waiting + told + len(self._versions.out)

    def take_rows(self) -> list[Row]:
        """Everything since the last call, processes first."""
        told: list[Row] = [*self._rows, *self.inquiries.rows]
        self.inquiries.rows = []
        rows: list[Row] = [*self._processes.take_rows(), *told, *self._versions.out.take()]
        self._rows = []
        return rows


def _told_path(event: Event, texts: TextStore) -> bytes | None:
    """Path of what a record is about, from its texts; None when they were lost."""
    if event.flags & _LEAF:
        directory = texts.directory(event.text)
        return None if directory is None else directory + event.name
    return texts.claim(event.text).path() if event.text else None
