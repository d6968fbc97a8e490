"""Renames, links, deletions, truncations by path: which file it was, and what to call it.

The kernel side names the file by identity and dentry where it can, and passes on the strings that
the program gave. A second thread may have swapped those before they were read, so a string is
believed as far as it agrees with the dentry. Owns no descriptor.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whence_proto.v1 import ingest_pb2 as wire
from whenced.record import Flag, Kind, Part
from whenced.rows import NameRow, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from whenced.event import Event, FileKey
    from whenced.file_state import FileState
    from whenced.path_scope import PathScope
    from whenced.processes import Processes
    from whenced.resolve import Resolver
    from whenced.rows import ProcessKey
    from whenced.text import Texts
    from whenced.versions import Versions

_DESCRIPTOR: Final = re.compile(rb"/(?:proc/(?:self|thread-self|\d+)|dev)/fd/(\d+)")
# Where one of two exchanged names waits meanwhile: no file can be called that.
_ASIDE: Final = b"/\0"


@dataclass(frozen=True, slots=True)
class Change:
    """One call that succeeded. ``walked`` is the dentry's path, None where it is not known."""

    event: Event
    process: ProcessKey
    old: bytes
    new: bytes | None
    walked: bytes | None
    state: FileState | None  # by the identity that the kernel told

    @property
    def knows_file(self) -> bool:
        """Whether the kernel told which file it was."""
        return self.event.inode != 0


class NameChanges:
    """Turns records of name changes into rows, and tells the versions' paths of them."""

    def __init__(
        self, processes: Processes, versions: Versions, resolver: Resolver, scope: PathScope
    ) -> None:
        self._processes = processes
        self._versions = versions
        self._resolver = resolver
        self._scope = scope

    def root_tgid(self, event: Event) -> int:
        """A process in whose root the event's paths resolve; 0 is this one, which outlives it."""
        jobs = self._versions.jobs
        if event.mount_ns == jobs.own_mount_ns:
            return 0
        return jobs.namespace_tgids.get(event.mount_ns, event.tgid)

    def on_change(
        self,
        event: Event,
        process: ProcessKey,
        texts: Texts,
        descriptors: Mapping[int, Mapping[int, FileKey]],
    ) -> list[NameRow]:
        """Rows of one record; a truncation makes an access instead and gives none."""
        change = self._change_of(event, process, texts, descriptors)
        if change is None:
            return []
        wanted = self._scope.wants(change.old)
        if not wanted and not (change.new is not None and self._scope.wants(change.new)):
            return []
        return list(self._rows_of(change))

    def _is_nothing(self, change: Change) -> bool:
        """Whether both are names of one file: then the call succeeds, and both stay (POSIX)."""
        if change.knows_file or change.event.kind != Kind.RENAME or change.new is None:
            return False
        if change.event.flags & Flag.EXCHANGE:
            return False
        tgid = self.root_tgid(change.event)
        found = self._resolver.file_at(tgid, change.new)
        return found is not None and found == self._resolver.file_at(tgid, change.old)

    def _rows_of(self, change: Change) -> Iterator[NameRow]:
        kind, flags = change.event.kind, change.event.flags
        if self._is_nothing(change):
            return
        if kind == Kind.TRUNCATE_PATH:
            self._on_truncate(change)
        elif kind == Kind.UNLINK:
            yield self._row(change, wire.NAME_CHANGE_DELETE)
        elif change.new is None:
            return
        elif flags & Flag.EXCHANGE:
            yield self._on_exchange(change)
        elif kind == Kind.RENAME:
            yield self._on_rename(change)
        else:
            yield self._on_link(change)

    # --- what the strings are worth ---------------------------------------------------------

    def _change_of(
        self,
        event: Event,
        process: ProcessKey,
        texts: Texts,
        descriptors: Mapping[int, Mapping[int, FileKey]],
    ) -> Change | None:
        old = texts.named(Part.USER_OLD, Part.BASE_OLD)
        said = texts.named(Part.USER_NEW, Part.BASE_NEW)
        walked = texts.path()
        state = self._versions.of_key(event.file) if event.inode else None
        tgid = self.root_tgid(event)
        if old is not None and (nameless := _DESCRIPTOR.fullmatch(old)) is not None:
            key = descriptors.get(event.tgid, {}).get(int(nameless[1]))
            state = state or self._versions.of_key(key)
        elif old is not None:
            old = self._resolver.canonical(tgid, old)
        if event.kind in (Kind.UNLINK, Kind.TRUNCATE_PATH):
            old = self._believed(event, old, walked)
            return None if old is None else Change(event, process, old, None, walked, state)
        if said is not None:
            said = self._resolver.canonical(tgid, said)
        new = self._believed(event, said, walked)
        old = self._old_name(event, old, state, is_lie=new != said)
        if old is None or new is None:
            return None
        return Change(event, process, old, new, walked, state)

    def _believed(self, event: Event, said: bytes | None, walked: bytes | None) -> bytes | None:
        """The string where it agrees with the dentry, or may be another way to the same file."""
        if walked is None or said is None or walked == said:
            return said or walked
        if posixpath.basename(said) != posixpath.basename(walked):
            return walked  # the last name of such a call is never followed
        found = self._resolver.file_at(self.root_tgid(event), said)
        return said if found in (None, event.file) else walked

    def _old_name(
        self, event: Event, said: bytes | None, state: FileState | None, *, is_lie: bool
    ) -> bytes | None:
        """The name before: the string, unless it is known to be of another file."""
        if state is None or (said is not None and _DESCRIPTOR.fullmatch(said)):
            return said
        there = None if said is None else self._versions.at_path(event.mount_ns, said)
        if said is None or (is_lie and there is not state) or there not in (None, state):
            return state.path
        return said

    # --- each kind --------------------------------------------------------------------------

    def _on_rename(self, change: Change) -> NameRow:
        event, old, new = change.event, change.old, change.new or b""
        mount_ns = event.mount_ns
        if change.knows_file:
            directory = bool(event.flags & Flag.DIRECTORY)
        else:
            known = self._versions.at_path(mount_ns, old) is not None
            directory = not known and self._resolver.is_directory(self.root_tgid(event), new)
        self._versions.renamed(mount_ns, old, new, directory=directory)
        if change.state is not None:
            self._versions.linked(mount_ns, new, change.state)
        return self._row(change, wire.NAME_CHANGE_RENAME, directory=directory)

    def _on_exchange(self, change: Change) -> NameRow:
        event, one, other = change.event, change.old, change.new or b""
        tgid = self.root_tgid(event)
        directory = any(self._resolver.is_directory(tgid, path) for path in (one, other))
        for old, new in ((one, _ASIDE), (other, one), (_ASIDE, other)):
            self._versions.renamed(event.mount_ns, old, new, directory=False)
            if directory:
                self._versions.renamed(event.mount_ns, old, new, directory=True)
        return self._row(change, wire.NAME_CHANGE_EXCHANGE, directory=directory)

    def _on_link(self, change: Change) -> NameRow:
        """A second name, or the first one of a file that was made without (O_TMPFILE)."""
        event, new = change.event, change.new or b""
        state = change.state or self._versions.at_path(event.mount_ns, change.old)
        if state is None:
            return self._row(change, wire.NAME_CHANGE_LINK)
        # fs/dcache.c d_mark_tmpfile() calls it by its inode
        first_name = state.path.endswith(b"/#%d" % state.key.inode)
        old = state.path
        self._versions.linked(event.mount_ns, new, state)
        kind = wire.NAME_CHANGE_RENAME if first_name else wire.NAME_CHANGE_LINK
        return self._row(change, kind, old=old)

    def _on_truncate(self, change: Change) -> None:
        event, path = change.event, change.old
        if change.knows_file:
            touch = event._replace(kind=Kind.TRUNCATE)
            self._versions.on_touch(touch, change.process, change.walked or path)
            return
        state = self._versions.at_path(event.mount_ns, path)
        if state is None:
            key = self._resolver.file_at(self.root_tgid(event), path)
            if key is None:
                return
            state = self._versions.met(key, path, event)
        self._versions.truncated(state, event, change.process)

    def _row(
        self, change: Change, kind: int, *, old: bytes | None = None, directory: bool = False
    ) -> NameRow:
        event, new = change.event, change.new
        state = change.state or self._versions.at_path(event.mount_ns, new or change.old)
        return NameRow(
            change.process,
            kind,
            event.at_ns,
            text_of(old or change.old),
            None if new is None else text_of(new),
            None if state is None else state.version(state.number),
            directory,
            event.mount_ns,
        )
