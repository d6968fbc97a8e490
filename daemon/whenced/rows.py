"""Rows of the wire in Python terms, one class for each table of ingest.proto.

Named tuples, not dataclasses: up to 50,000 a second are made, hashed and transposed, and a tuple
does each several times faster. May not know how rows are packed; batching.py does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

_KNOWN_TEXTS: Final = 1 << 13


class ProcessKey(NamedTuple):
    """A program within one boot; ``start_ns`` is absolute boot time, ``image`` counts execs."""

    tgid: int
    start_ns: int
    image: int


class FileVersion(NamedTuple):
    """A file of the kernel (device is s_dev) and the version of its content."""

    device: int
    inode: int
    generation: int
    version: int


class StartRow(NamedTuple):
    """A program that came into being; texts are None where unknown, times boot ns, absolute."""

    process: ProcessKey
    parent: ProcessKey | None
    at_ns: int
    origin: int  # ingest_pb2.ProcessOrigin
    exe: str | None = None
    exe_file: FileVersion | None = None
    script: str | None = None
    arguments: tuple[str, ...] = ()
    arguments_truncated: bool = False
    cwd: str | None = None
    uid: int = 0
    user: str | None = None
    login_uid: int = 0xFFFFFFFF
    session: int = 0
    process_group: int = 0
    terminal: int = 0
    cgroup: str | None = None
    mount_namespace: int = 0
    pid_namespace: int = 0
    command_name: str | None = None


class EndRow(NamedTuple):
    """A program that ended; ``replaced`` when by the exec of the next image."""

    process: ProcessKey
    at_ns: int
    exit_code: int = 0
    exit_signal: int = 0
    replaced: bool = False


class AccessRow(NamedTuple):
    """What one process did to one file version since the last such row."""

    process: ProcessKey
    file: FileVersion
    path: str | None
    op: int  # ingest_pb2.AccessOp
    ops: int
    bytes: int
    first_ns: int
    last_ns: int
    flags: int = 0  # sum of ingest_pb2.AccessFlag
    mount_namespace: int = 0


class NameRow(NamedTuple):
    """A rename, link, deletion or exchange that succeeded."""

    process: ProcessKey
    change: int  # ingest_pb2.NameChange
    at_ns: int
    path: str | None
    new_path: str | None = None
    file: FileVersion | None = None
    directory: bool = False
    mount_namespace: int = 0


class DigestRow(NamedTuple):
    """What a file version holds, or why that is not known; digests are raw bytes or empty."""

    file: FileVersion
    state: int  # ingest_pb2.DigestState
    at_ns: int
    blake3: bytes = b""
    sha256: bytes = b""
    size_bytes: int = 0
    reason: str | None = None
    path: str | None = None


class CodeRow(NamedTuple):
    """State of the repository that a program started in; ``modified`` is relative to it."""

    process: ProcessKey
    repository: str
    commit: str | None
    branch: str | None
    remote: str | None
    dirty: bool
    modified: tuple[str, ...]
    at_ns: int


class StreamRow(NamedTuple):
    """First touch of a pipe or FIFO in one direction."""

    process: ProcessKey
    device: int
    inode: int
    write: bool
    at_ns: int
    path: str | None = None


class EnvironmentRow(NamedTuple):
    """Allowed variables of a program at its exec: (name, value), sorted, without secrets."""

    process: ProcessKey
    variables: tuple[tuple[str, str], ...]
    truncated: bool = False


class PackageRow(NamedTuple):
    """An installed package one of whose files a program touched."""

    process: ProcessKey
    ecosystem: str  # "pypi", "conda", "deb" or "rpm"
    name: str
    version: str | None
    location: str | None
    record_sha256: bytes
    modified: bool
    at_ns: int


class ChangeRow(NamedTuple):
    """A file of a repository that a program read and that is not as committed."""

    process: ProcessKey
    repository: str
    path: str  # relative to it
    change: int  # ingest_pb2.CodeChange
    commit: str | None
    difference: str | None
    reason: str | None
    redacted: bool
    at_ns: int


class OriginRow(NamedTuple):
    """The name that a publisher's cache gives to a file version."""

    file: FileVersion
    publisher: str
    kind: str
    repository: str
    revision: str | None
    reference: str | None
    name: str | None
    at_ns: int


class ContainerRow(NamedTuple):
    """A container, as the files of its runtime tell."""

    id: str
    runtime: str | None
    name: str | None
    image: str | None
    image_digest: str | None
    at_ns: int


class UnseenRow(NamedTuple):
    """A program took a way to bytes that capture cannot follow: its run is incomplete."""

    process: ProcessKey
    reason: str
    at_ns: int


class LossRow(NamedTuple):
    """Conservation counters of one class of record over an interval of boot ns."""

    record_class: str  # "life", "touch", "name", "text", "aggregate" or "row"
    attempted: int
    received: int
    lost: int
    reason: str | None
    from_ns: int
    until_ns: int
    process: ProcessKey | None = None  # whose they were; None: anybody's of the interval


class AccountRow(NamedTuple):
    """The kernel's account of a process that ended, and what was seen of it."""

    process: ProcessKey
    at_ns: int
    read_bytes: int
    written_bytes: int
    read_seen_bytes: int
    written_seen_bytes: int
    read_calls: int
    written_calls: int
    allowed_bytes: int  # what the kernel may have read in its name without a call


class MarkRow(NamedTuple):
    """A moment in the life of this capture."""

    mark: int  # ingest_pb2.CaptureMark
    at_ns: int
    alive: tuple[ProcessKey, ...] = ()  # of a walk over all tasks


class GpuDeviceRow(NamedTuple):
    """A GPU or MIG instance of this host; None is not known."""

    gpu: str
    at_ns: int
    model: str | None = None
    pci: str | None = None
    driver: str | None = None
    parent: str | None = None
    minor: int | None = None
    nvml_index: int | None = None
    memory_bytes: int | None = None
    compute_slices: int | None = None
    memory_slices: int | None = None


class GpuHoldRow(NamedTuple):
    """An interval in which an open file had a GPU; end None while it goes on."""

    hold: int
    process: ProcessKey
    gpu: str | None
    device: int
    kind: int  # ingest_pb2.GpuHoldKind
    start_ns: int
    end_ns: int | None
    start_source: int  # ingest_pb2.GpuEdgeSource
    end_source: int | None
    start_uncertainty_ns: int = 0
    end_uncertainty_ns: int = 0
    holders: int = 0


class GpuSliceRow(NamedTuple):
    """What a GPU did in a slice; None is not known."""

    gpu: str
    from_ns: int
    until_ns: int
    busy_ns: int | None = None
    sm_active_ns: int | None = None
    tensor_active_ns: int | None = None
    energy_mj: int | None = None
    memory_used_bytes: int | None = None


class GpuShareRow(NamedTuple):
    """What a process had of a GPU in a slice; None is not known."""

    gpu: str
    process: ProcessKey
    from_ns: int
    until_ns: int
    sm_ppm: int | None = None
    memory_bytes: int | None = None
    mps: bool = False


class GpuFaultRow(NamedTuple):
    """A fault that the driver reported."""

    gpu: str
    at_ns: int
    xid: int


class TagRow(NamedTuple):
    """What a program, or its user, said of the program; uid and user are the sender's."""

    process: ProcessKey
    key: str
    value: str | None
    removed: bool
    inherit: bool
    uid: int
    user: str | None
    at_ns: int


class MetricRow(NamedTuple):
    """A number that a program measured."""

    process: ProcessKey
    name: str
    value: float
    step: int | None
    at_ns: int


GpuRow: TypeAlias = GpuDeviceRow | GpuHoldRow | GpuSliceRow | GpuShareRow | GpuFaultRow
RecipeRow: TypeAlias = EnvironmentRow | PackageRow | ChangeRow | OriginRow | ContainerRow
SeenRow: TypeAlias = StartRow | EndRow | AccessRow | NameRow | DigestRow | CodeRow | StreamRow
WordRow: TypeAlias = TagRow | MetricRow
Row: TypeAlias = SeenRow | UnseenRow | LossRow | MarkRow | AccountRow | RecipeRow | GpuRow | WordRow


@lru_cache(_KNOWN_TEXTS)
def text_of(raw: bytes) -> str:
    r"""Text of kernel bytes; a byte that is not valid UTF-8 becomes ``\xNN`` (rule of the wire)."""
    return raw.decode("utf-8", "backslashreplace")
