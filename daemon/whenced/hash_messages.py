"""What the daemon and its hasher process say to each other, and the page of memory they share.

Pure data and its encoding; opens nothing and decides nothing.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

HashState: TypeAlias = Literal["verified", "asserted", "torn", "unhashed", "busy"]

#: States that come with a digest.
DIGESTED: Final = ("verified", "asserted")
#: Asks for whatever version is current, or says that a field is not known.
ANY: Final = -1
#: No message is longer: what is unbounded in them is cut so that a socket with the default
#: buffer takes it as one record.
MESSAGE_LIMIT_BYTES: Final = 200 * 1024
#: Messages share a record of the socket up to here.
_PACKET_BYTES: Final = 96 * 1024
_FIXED_BYTES: Final = 640  # numbers, and two digests each of whose bytes may be escaped
_ESCAPED_BYTES: Final = 6  # of JSON for one byte


@dataclass(frozen=True, slots=True)
class HashRequest:
    """Hash one version of one file.

    `path` is absolute in the mount namespace of process `pid` (0: our own), `fd` a descriptor
    number in that process. `device`, `inode`, `generation` are the kernel's, `version` is the
    write version that the bytes must have; `size_bytes`, `mtime_ns` and `magic` (of the
    superblock) are those of the touch. ANY (-1) stands for "not known" in each of them.
    """

    ticket: int
    path: bytes
    pid: int = 0
    fd: int = ANY
    device: int = ANY
    inode: int = ANY
    generation: int = ANY
    version: int = ANY
    size_bytes: int = ANY
    mtime_ns: int = ANY
    magic: int = 0
    written: bool = False
    """Outputs get a SHA-256 beside the BLAKE3."""
    own_root: bool = False
    """The process shares our mount namespace, so that our own root will do, and costs less."""
    hold_only: bool = False
    """Take a descriptor for a later request on the same file; never answered."""


@dataclass(frozen=True, slots=True)
class HashReply:
    """Content of one version, or why there is none.

    `blake3` and `sha256` are 32 raw bytes or empty; `version` is the probed version that the
    digest belongs to; `at_ns` is on the boot clock; `reason` is one sentence for every state
    except `verified`. State `busy`: a writer has the file open now, ask again later.
    """

    ticket: int
    state: HashState
    blake3: bytes = b""
    sha256: bytes = b""
    size_bytes: int = 0
    version: int = ANY
    at_ns: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Tell the state of the repository around `cwd` or, failing that, around `script`."""

    ticket: int
    cwd: bytes
    script: bytes = b""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class CodeReply:
    r"""State of one repository; an empty `repository` says that there is none to be read.

    Texts are ready for the wire (a byte that is not UTF-8 is written as \xNN). `dirty` is true
    when a tracked file differs and also when not every file could be compared, because that
    must not pass for clean; `incomplete` then says why in one sentence. `modified` names the
    files that were seen to differ, the first ones only when there are too many.
    """

    ticket: int
    repository: str = ""
    commit: str = ""
    branch: str = ""
    remote: str = ""
    dirty: bool = False
    modified: tuple[str, ...] = ()
    incomplete: str = ""


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """Tell of each of `paths` (separated by NUL, below the root of `pid`) what `kind` asks.

    Kinds are those of inspection.py.
    """

    ticket: int
    kind: str
    paths: bytes
    pid: int = 0


#: Place of the reply that ends the answer.
DONE: Final = -1


@dataclass(frozen=True, slots=True)
class InspectReply:
    """What is known of the path at `place`, in texts that are ready for the wire.

    The last reply of each request has place DONE; paths of which nothing is known have none.
    """

    ticket: int
    place: int
    texts: tuple[str, ...] = ()


Request: TypeAlias = HashRequest | CodeRequest | InspectRequest
Reply: TypeAlias = HashReply | CodeReply | InspectReply
Message: TypeAlias = Request | Reply

_KINDS: Final[dict[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (HashRequest, HashReply, CodeRequest, CodeReply, InspectRequest, InspectReply)
}
_to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_COUNTS: Final = {kind: len(fields(kind)) for kind in _KINDS.values()}
_VALUES: Final = {kind: attrgetter(*(f.name for f in fields(kind))) for kind in _KINDS.values()}
#: Places of the fields that are bytes.
_BYTES: Final = {
    kind: tuple(place for place, f in enumerate(fields(kind)) if f.type == "bytes")
    for kind in _KINDS.values()
}
#: What a field is in JSON, by its annotation; the hasher has fewer rights than who reads it.
_IN_JSON: Final[dict[str, type]] = {
    "int": int,
    "bool": bool,
    "bytes": str,
    "str": str,
    "HashState": str,
    "tuple[str, ...]": tuple,
}
_TYPES: Final = {
    kind: tuple(_IN_JSON[str(f.type)] for f in fields(kind)) for kind in _KINDS.values()
}


def encode(message: Message) -> bytes:
    """Return one JSON array: kind, then the fields in order; bytes as surrogate escapes."""
    return _to_json(_parts(message)).encode("utf-8", "surrogateescape")


def decode(data: bytes) -> Message:
    """Read what `encode` wrote. Raises ValueError when it is something else."""
    return _message(json.loads(data.decode("utf-8", "surrogateescape")))


def packet(messages: Iterable[Message]) -> tuple[bytes, int]:
    """Return the first of the messages as one record of the socket, and how many they are.

    A call of send(2) for each would cost more than the message. No messages: (b"", 0).
    """
    parts: list[list[Any]] = []
    weight_bytes = 0
    for message in messages:
        weight_bytes += _weight_bytes(message)
        if parts and weight_bytes > _PACKET_BYTES:
            break
        parts.append(_parts(message))
    data = _to_json(parts).encode("utf-8", "surrogateescape") if parts else b""
    return data, len(parts)


def unpacked(data: bytes) -> list[Message]:
    """Read what `packet` wrote. Raises ValueError when it is something else."""
    found = json.loads(data.decode("utf-8", "surrogateescape"))
    if not isinstance(found, list):
        raise ValueError(f"no packet of hasher messages: {data[:80]!r}")  # noqa: TRY004 (what was read, not an argument)
    return [_message(parts) for parts in found]


def _weight_bytes(message: Message) -> int:
    """At least the encoded length; the states of repositories travel alone."""
    if isinstance(message, HashRequest):
        return _FIXED_BYTES + _ESCAPED_BYTES * len(message.path)
    if isinstance(message, InspectRequest):
        return _FIXED_BYTES + _ESCAPED_BYTES * len(message.paths)
    if isinstance(message, InspectReply):
        return _FIXED_BYTES + 2 * sum(map(len, message.texts))
    if isinstance(message, HashReply):
        return _FIXED_BYTES + _ESCAPED_BYTES * len(message.reason)
    return _PACKET_BYTES


def _parts(message: Message) -> list[Any]:
    kind = type(message)
    values = [kind.__name__, *_VALUES[kind](message)]
    for place in _BYTES[kind]:
        values[place + 1] = values[place + 1].decode("utf-8", "surrogateescape")
    return values


def _message(parts: Any) -> Message:
    kind = _KINDS.get(str(parts[0])) if isinstance(parts, list) and parts else None
    if kind is None:
        raise ValueError(f"not a hasher message: {parts!r:.80}")
    values: list[Any] = [tuple(v) if isinstance(v, list) else v for v in parts[1:]]
    if len(values) != _COUNTS[kind]:
        raise ValueError(f"{kind.__name__} has {_COUNTS[kind]} fields, got {len(values)}")
    texts = [each for value in values if isinstance(value, tuple) for each in value]
    if tuple(map(type, values)) != _TYPES[kind] or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"{kind.__name__} has fields of other types: {parts!r:.80}")
    for place in _BYTES[kind]:
        values[place] = values[place].encode("utf-8", "surrogateescape")
    return kind(*values)


# --- the shared page -------------------------------------------------------------------------

CONTROL: Final = 0
OPENER: Final = 1
READER: Final = 2
CODE: Final = 3
WORKERS: Final = 4
IDLE: Final = -1

_CELL_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """What one worker is at: its ticket (IDLE: nothing) and its last sign of life."""

    ticket: int
    beat_ns: int


class Board:
    """One mark per worker in memory that both processes map: it outlives a crash or a hang.

    Cells are aligned 64-bit integers, which are stored whole. The beat is written before the
    ticket and read after it, so that a new ticket is never seen with an old beat.
    """

    def __init__(self, fd: int) -> None:
        """Map the page behind `fd`, which stays the caller's to close."""
        self._page = mmap.mmap(fd, WORKERS * 2 * _CELL_BYTES)
        self._cells = memoryview(self._page).cast("q")

    def mark(self, worker: int, ticket: int, at_ns: int) -> None:
        """Say that `worker` is alive at `at_ns` (monotonic clock) and works on `ticket`."""
        self._cells[worker * 2 + 1] = at_ns
        self._cells[worker * 2] = ticket

    def read(self) -> tuple[Mark, ...]:
        """Return the marks of all workers, indexed by worker."""
        cells = self._cells
        return tuple(Mark(cells[place], cells[place + 1]) for place in range(0, WORKERS * 2, 2))

    def close(self) -> None:
        """Unmap the page."""
        self._cells.release()
        self._page.close()


def new_board_fd(at_ns: int) -> int:
    """Return a descriptor of a fresh page on which every worker is idle and alive."""
    fd = os.memfd_create("whence-hasher-board", os.MFD_CLOEXEC)
    os.truncate(fd, WORKERS * 2 * _CELL_BYTES)
    board = Board(fd)
    for worker in range(WORKERS):
        board.mark(worker, IDLE, at_ns)
    board.close()
    return fd
