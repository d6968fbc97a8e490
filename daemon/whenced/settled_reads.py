"""Drains of records, with a short way for reads of files that are at rest.

Most records of a busy host are such: another process reads what was read before, or one reads what
nobody wrote. Nothing but an access follows from them, and for a file that is met a hash job, so
that they need no Event and no question that has an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from whenced.event import FileKey, event_at, events
from whenced.file_state import FileState
from whenced.record import Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whenced.observer import Observer
    from whenced.record import Rows
    from whenced.text import TextStore
    from whenced.versions import Versions

_READ: Final = int(Kind.READ)
_LEAF: Final = int(Flag.LEAF)
_WHO: Final = ("process_tgid", "process_start_ns", "process_exec_id")
_FILE: Final = ("file_device", "file_inode", "file_generation")
_CONTENT: Final = ("version", "size_bytes", "mtime_ns")
_PATH: Final = ("text", "name")
_REST: Final = ("at_ns", "magic", "fd")
# Below, asking costs more than it saves.
_FEW: Final = 8


class Drains:
    """Hands records to the observer in their order."""

    def __init__(self, observer: Observer, versions: Versions) -> None:
        self._observer, self._versions = observer, versions

    def handle(self, rows: Rows, texts: TextStore) -> None:
        """Take rows of RECORD, oldest first; their texts are in the store already."""
        plain = (rows["kind"] == _READ) & (rows["flags"] == _LEAF)
        plain &= rows["mount_ns"] == self._versions.jobs.own_mount_ns
        if int(plain.sum()) < _FEW or self._observer.is_scoped:
            self._observer.handle(events(rows), texts)
            return
        data, take = rows.tobytes(), self._observer.take
        columns = (_tuples(rows, names) for names in (_WHO, _FILE, _CONTENT, _PATH, _REST))
        fields = zip(*columns, strict=True)
        for place, (is_plain, known) in enumerate(zip(plain.tolist(), fields, strict=True)):
            if not is_plain or not self._is_settled(texts, *known):
                take(event_at(data, place), texts)
        texts.renew(int(rows["at_ns"][-1]))

    def _is_settled(
        self,
        texts: TextStore,
        who: tuple[int, int, int],
        identity: tuple[int, int, int],
        content: tuple[int, int, int],
        path: tuple[int, bytes],
        rest: tuple[int, int, int],
    ) -> bool:
        """Whether the read changes nothing known, or is the first of its file; then it is told."""
        process = self._observer.processes.key(*who)
        directory = texts.directory(path[0])
        if process is None or directory is None:
            return False
        versions, at_ns = self._versions, rest[0]
        mount_ns = versions.jobs.own_mount_ns
        state = versions.settled(identity, content, directory + path[1])
        if state is None:
            number, size_bytes, mtime_ns = content
            if number:
                return False
            state = FileState(
                FileKey(*identity), versions.start, directory + path[1], mount_ns, rest[1],
                who[0], rest[2], size_bytes, mtime_ns,
            )  # fmt: skip
            if not versions.adopt(state):
                return False
            self._observer.note(state.path)
        versions.out.settled_read(process, state, content[0], at_ns, mount_ns)
        return True


def _tuples(rows: Rows, names: tuple[str, ...]) -> Iterable[Any]:
    """Columns of the rows, side by side."""
    return zip(*(rows[name].tolist() for name in names), strict=True)
