"""A batch after its dictionaries were resolved to the collector's dense ids.

The seam between storing rows and deriving runs and edges from them: plain data,
no database, no protobuf. Times are Unix nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Texts = npt.NDArray[np.object_]  # of str or None


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A program that came into being; a later row of the same id replaces it."""

    process_id: int
    boot_id: int
    tgid: int
    start_ns: int  # boot clock, part of the identity
    image: int
    parent_process_id: int | None
    at_unix_ns: int
    origin: int  # whence.v1.ProcessOrigin
    exe: str | None
    exe_version_id: int | None
    script: str | None
    argv: tuple[str, ...]
    arguments_truncated: bool
    cwd: str | None
    uid: int
    user_name: str | None
    login_uid: int
    session: int
    process_group: int
    terminal: int
    cgroup: str | None
    mount_namespace: int
    pid_namespace: int
    command_name: str | None


@dataclass(frozen=True, slots=True)
class EndRow:
    """A program that ended, or whose image an exec replaced."""

    process_id: int
    at_unix_ns: int
    exit_code: int | None  # None: nobody saw how
    exit_signal: int | None
    replaced: bool


@dataclass(frozen=True, slots=True)
class AccessColumns:
    """Accesses as equally long int64 arrays; row i is element i of each."""

    process_id: Ints
    version_id: Ints
    path_id: Ints  # 0 unknown
    op: Ints  # whence.v1.AccessOp
    ops: Ints
    bytes: Ints
    first_unix_ns: Ints
    last_unix_ns: Ints
    flags: Ints  # sum of whence.v1.AccessFlag
    mount_namespace: Ints


@dataclass(frozen=True, slots=True)
class NameRow:
    """A rename, link, deletion or exchange."""

    process_id: int
    change: int  # whence.v1.NameChange
    at_unix_ns: int
    path_id: int
    new_path_id: int  # 0 for a deletion
    version_id: int | None
    directory: bool
    mount_namespace: int


@dataclass(frozen=True, slots=True)
class DigestColumns:
    """What file versions hold, as equally long arrays; row i is element i of each."""

    version_id: Ints
    state: Ints  # whence.v1.DigestState
    artifact_id: Ints  # 0 where there is no digest
    size_bytes: Ints
    reason: Texts  # None where there is none
    at_unix_ns: Ints
    path_id: Ints


@dataclass(frozen=True, slots=True)
class CodeRow:
    """State of the repository that a program started in."""

    process_id: int
    repository: str
    commit: str | None
    branch: str | None
    remote: str | None
    dirty: bool
    modified: tuple[str, ...]
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """First touch of a pipe or FIFO in one direction."""

    process_id: int
    boot_id: int
    device: int
    inode: int
    write: bool
    at_unix_ns: int
    path: str | None


@dataclass(frozen=True, slots=True)
class BlindRow:
    """A program took a way to bytes that capture could not follow."""

    process_id: int
    reason: str
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class LossRow:
    """Conservation counters of one class over one interval."""

    boot_id: int
    record_class: str
    attempted: int
    received: int
    lost: int
    reason: str | None
    from_unix_ns: int
    until_unix_ns: int
    process_id: int | None = None  # whose records they were; None: anybody's


@dataclass(frozen=True, slots=True)
class AccountRow:
    """The kernel's account of a process that ended, and what was seen of it."""

    process_id: int
    at_unix_ns: int
    read_bytes: int
    written_bytes: int
    read_seen_bytes: int
    written_seen_bytes: int
    read_calls: int
    written_calls: int
    allowed_bytes: int  # read by the kernel in its name, without a call

    @property
    def bytes(self) -> int:
        """Read and written, as the kernel accounts it."""
        return self.read_bytes + self.written_bytes

    @property
    def seen_bytes(self) -> int:
        """Of these: seen. A surplus in one direction hides nothing in the other."""
        read = min(self.read_bytes, self.read_seen_bytes)
        return read + min(self.written_bytes, self.written_seen_bytes)

    @property
    def lacking_bytes(self) -> int:
        """Not seen and not explained; 0 where it is no more than a hundredth."""
        lacking = self.bytes - self.seen_bytes - self.allowed_bytes
        return lacking if lacking > self.bytes // 100 else 0


@dataclass(frozen=True, slots=True)
class MarkRow:
    """A moment in the life of a capture."""

    mark: int  # whence.v1.CaptureMark
    at_unix_ns: int
    at_boot_ns: int
    alive: frozenset[tuple[int, int]]  # (tgid, start_ns) of a walk over all tasks


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """Allowed variables of a program at its exec, sorted by name."""

    process_id: int
    truncated: bool
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PackageRow:
    """An installed package that a program used; record_sha256 is empty where unknown."""

    process_id: int
    ecosystem: str
    name: str
    version: str | None
    location: str | None
    record_sha256: bytes
    modified: bool
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A file of a repository that a program read and that was not as committed."""

    process_id: int
    repository: str
    path: str
    change: int  # whence.v1.CodeChange
    commit: str | None
    difference: str | None
    reason: str | None
    redacted: bool
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class OriginRow:
    """The name that a publisher's cache gives to a file version."""

    version_id: int
    publisher: str
    kind: str
    repository: str
    revision: str | None
    reference: str | None
    name: str | None
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """A container, as the files of its runtime tell."""

    host_id: int
    container_id: str
    runtime: str | None
    name: str | None
    image: str | None
    image_digest: str | None
    at_unix_ns: int


@dataclass(frozen=True, slots=True)
class RecipeRows:
    """What a batch tells of how runs could be done again."""

    environments: tuple[EnvironmentRow, ...] = ()
    packages: tuple[PackageRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    origins: tuple[OriginRow, ...] = ()
    containers: tuple[ContainerRow, ...] = ()


NO_RECIPE = RecipeRows()


@dataclass(frozen=True, slots=True)
class TagRow:
    """What a program or its user said of the program."""

    subject_kind: str  # "process"
    subject: str  # the process_id as text
    process_id: int
    key: str
    value: str | None
    removed: bool
    inherit: bool
    who: str
    proven: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A number that a program measured."""

    process_id: int
    name: str
    value: float
    step: int | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class ResolvedBatch:
    """Everything of one batch, in dense ids."""

    host_id: int
    boot_id: int
    epoch: str
    number: int
    processes: tuple[ProcessRow, ...]
    ends: tuple[EndRow, ...]
    accesses: AccessColumns
    names: tuple[NameRow, ...]
    digests: DigestColumns
    code_states: tuple[CodeRow, ...]
    streams: tuple[StreamRow, ...]
    losses: tuple[LossRow, ...]
    blind_spots: tuple[BlindRow, ...] = ()
    recipe: RecipeRows = NO_RECIPE
    capture_id: int = 0
    marks: tuple[MarkRow, ...] = ()
    accounts: tuple[AccountRow, ...] = ()
    tags: tuple[TagRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
