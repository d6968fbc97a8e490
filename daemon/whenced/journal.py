"""What this capture took and decided since its last checkpoint, so that a death loses none of it.

Before the kernel side may forget something it stands here; before a batch may leave, the step that
made it does. Nothing is forced to the disk: a killed process leaves its writes to the kernel, and
after a crash of the host there is no capture to go on with. A log begins with what waited for the
loop; the state of the loop at its beginning is beside it. Two threads use it: intake's, the loop's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from whenced.load_queue import LoadQueue
from whenced.record import records
from whenced.ring import RawTexts
from whenced.rings import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

    from whenced.record import Rows

log: Final = logging.getLogger(__name__)

# What a restart has to go through again: a second or two of the loop's work.
LIMIT_BYTES: Final = 32 << 20
# A checkpoint costs as much as its size: never more than a part of what it saves.
_STATES: Final = 4
_FRAME: Final = struct.Struct("<II")  # length, CRC-32
_TABLES_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class Identity:
    """Of one capture: a journal of another one is worth nothing."""

    boot_id: str
    kernel_id: int  # of its ring of touches
    started_ns: int
    number: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Batches that a step made: (number, payload, rows), and what the outbox knew afterwards."""

    batches: tuple[tuple[int, bytes, int], ...]
    outbox: tuple[Any, ...]


@dataclass(slots=True)
class Step:
    """Everything that one step of the loop was told, and what left it."""

    now_ns: int
    taken: list[int] = field(default_factory=list)  # numbers of loads
    settled_ns: int = 0
    replies: list[tuple[Any, Any]] = field(default_factory=list)  # reply, what was asked
    answers: list[tuple[str, Any]] = field(default_factory=list)  # of the kernel: call, result
    words: list[Any] = field(default_factory=list)  # rows of what programs said of themselves
    flush: Flush | None = None


@dataclass(slots=True)
class Kernel:
    """What of the kernel side was written down: positions of the rings, the table last emptied."""

    positions: tuple[int, ...] = ()
    table: int = _TABLES_UNKNOWN


@dataclass(slots=True)
class Found:
    """What a capture that is to go on had written down."""

    identity: Identity
    generation: int  # of the state to begin with; its log and later ones follow
    last: int  # generation of the newest log
    valid_bytes: int  # of that log
    queue: LoadQueue
    kernel: Kernel
    steps: list[Step]
    daemons: tuple[tuple[int, int], ...] = ()  # tgid, start_ns of those that wrote it
    layout: str = ""  # of what is kept (resume.py); empty: it died before it told


class Journal:
    """Writes; when that fails it says why, once, and capture goes on without."""

    def __init__(self, directory: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._directory, self._limit_bytes = directory, limit_bytes
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._identity: Identity | None = None
        self._generation = self._bytes = self._state_bytes = 0
        self._kernel = Kernel()
        self._layout = ""
        self._daemons: tuple[tuple[int, int], ...] = ()
        self.failure: str | None = "not begun"

    @property
    def is_full(self) -> bool:
        """Whether a checkpoint is due."""
        limit_bytes = max(self._limit_bytes, _STATES * self._state_bytes)
        return self.failure is None and self._bytes > limit_bytes

    def begin(self, identity: Identity) -> None:
        """Start for a new capture: what stands here is of an older one."""
        self._identity = identity
        self._wipe()
        self.rotate(LoadQueue())

    def go_on(self, found: Found) -> None:
        """Write on where a process that is gone stopped."""
        self._identity, self._generation = found.identity, found.last
        self._layout, self._daemons = found.layout, found.daemons
        self._kernel = found.kernel
        path = self._log(found.last)
        os.truncate(path, found.valid_bytes)
        self._file = path.open("ab", buffering=0)
        self._bytes = found.valid_bytes
        self.failure = None

    def close(self) -> None:
        """Let go of the file; what is written stays."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            self.failure = "closed"

    def remove(self) -> None:
        """There is nothing to go on with."""
        self.close()
        self._wipe()
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    # What is noted.

    def turn(self, turn: Turn, taken_ns: int, positions: tuple[int, ...]) -> None:
        """Note what was read out of the rings, up to where."""
        self._kernel.positions = positions
        # as bytes: a numpy array tells the names of its columns each time
        pieces = [(ring, rows.tobytes(), reached) for ring, rows, reached in turn.pieces]
        rest = turn.texts.blocks, turn.looked_ns, turn.last, turn.is_early
        self._append("turn", pieces, rest, taken_ns, positions)

    def retired(self, keys: Rows, uses: Rows, table: int) -> None:
        """Note what a table held that is about to be emptied."""
        self._kernel.table = table
        self._append("retired", keys, uses, table)

    def counted(self, taken_ns: int, settled_ns: int) -> None:
        """Note that the retired table has its place among the records."""
        self._append("counted", taken_ns, settled_ns)

    def daemon(self, tgid: int, start_ns: int) -> None:
        """Note who writes from now on."""
        self._daemons += ((tgid, start_ns),)
        self._append("daemon", tgid, start_ns)

    def state_path(self, generation: int) -> Path:
        """Where the state at the beginning of a log is; the first has none."""
        return self._state(generation)

    def told_layout(self, layout: str) -> None:
        """Note which version's state this is."""
        self._layout = layout
        self._append("layout", layout)

    def step(self, step: Step) -> None:
        """Note a step of the loop: only now may what it made leave."""
        self._append("step", step)

    # Checkpoints.

    def rotate(self, queue: LoadQueue) -> None:
        """Begin the next log; the caller holds the intake's lock. checkpoint() has to follow."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._generation += 1
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                self._file = self._log(self._generation).open("wb", buffering=0)
            except OSError as error:
                self._fail(error)
                return
            self._bytes, self.failure = 0, None
        told = self._layout, self._daemons
        self._append("head", self._identity, queue, self._kernel, told)

    def checkpoint(self, write: Callable[[IO[bytes]], None]) -> None:
        """Keep the state at the beginning of this log; older ones are not needed then."""
        if self.failure is not None:
            return
        fresh = self._directory / "state.new"
        try:
            with fresh.open("wb", buffering=1 << 16) as file:
                write(file)
                self._state_bytes = file.tell()
            fresh.replace(self._state(self._generation))
        except OSError as error:
            with self._lock:
                self._fail(error)
            return
        for number in range(self._generation - 1, 0, -1):
            older = self._log(number)
            self._state(number).unlink(missing_ok=True)
            if not older.exists():
                break
            older.unlink()

    def _append(self, *what: object) -> None:
        if self.failure is not None:
            return
        payload = pickle.dumps(what, protocol=5)
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        with self._lock:
            if self._file is None:
                return
            try:
                view = memoryview(frame)
                while view:  # a full disk takes a part, then refuses
                    view = view[self._file.write(view) :]
                self._bytes += len(frame)
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        """A journal with a hole is worse than none."""
        self.failure = f"{self._directory} takes nothing: {error.strerror}"
        log.warning("%s; a death of the daemon would lose what it holds", self.failure)
        if self._file is not None:
            self._file.close()
            self._file = None
        self._wipe()

    def _wipe(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                path.unlink()

    def _log(self, generation: int) -> Path:
        return self._directory / f"log.{generation}"

    def _state(self, generation: int) -> Path:
        return self._directory / f"state.{generation}"


# What reading a log of another version may end in (pickle, and the classes of this one).
_STRANGE: Final = (
    pickle.UnpicklingError, AttributeError, ImportError, KeyError, TypeError, ValueError, EOFError,
)  # fmt: skip


def find(directory: Path) -> Found | None:
    """Read what a capture wrote down; None when there is nothing to go on with."""
    try:
        return _read(directory)
    except (OSError, *_STRANGE) as error:
        log.warning("%s cannot be gone on with: %s", directory, error)
        return None


def _read(directory: Path) -> Found | None:
    logs = _numbers(directory, "log")
    states = _numbers(directory, "state")
    begin = states[-1] if states else 1
    if begin not in logs:
        return None
    found: Found | None = None
    for number in range(begin, logs[-1] + 1):
        frames = _Frames(directory / f"log.{number}")
        for kind, *what in frames:
            if kind == "head":
                if found is None:
                    identity, queue, kernel, (layout, daemons) = what
                    found = Found(identity, begin, number, 0, queue, kernel, [], daemons, layout)
            elif found is None:
                return None
            else:
                _apply(found, kind, what)
        if found is None:
            return None
        found.last, found.valid_bytes = number, frames.valid_bytes
    return found


def _apply(found: Found, kind: str, what: list[Any]) -> None:
    if kind == "turn":
        raw, (blocks, *rest), taken_ns, found.kernel.positions = what
        pieces = tuple((ring, records(rows), reached) for ring, rows, reached in raw)
        found.queue.turn(Turn(pieces, RawTexts(blocks), *rest), taken_ns)
    elif kind == "retired":
        keys, uses, found.kernel.table = what
        found.queue.retired = keys, uses
    elif kind == "counted":
        found.queue.counted(*what)
    elif kind == "daemon":
        found.daemons += (tuple(what),)
    elif kind == "layout":
        (found.layout,) = what
    else:
        found.steps += what


def _numbers(directory: Path, name: str) -> list[int]:
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    parts = (each.partition(".") for each in names)
    return sorted(int(end) for begin, _, end in parts if begin == name and end.isdigit())


class _Frames:
    """The whole frames of a log; ``valid_bytes`` is where they end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.valid_bytes = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with self._path.open("rb") as file:
            while len(head := file.read(_FRAME.size)) == _FRAME.size:
                length, crc = _FRAME.unpack(head)
                payload = file.read(length)
                if len(payload) != length or zlib.crc32(payload) != crc:
                    return
                self.valid_bytes += _FRAME.size + length
                yield pickle.loads(payload)  # noqa: S301 -- our own file, which root alone can write
