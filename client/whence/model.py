"""What an answer is made of: frozen dataclasses, field by field the messages of query.proto.

Unknown is None, never 0 or an empty text. Pure: knows neither gRPC nor a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from whence import model_tags
from whence.model_tags import Metric, Tag

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """Content: the same bytes are one artifact, wherever they lie."""

    digest: str
    sha256: str | None
    size_bytes: int | None
    first_seen_unix_ns: int | None
    last_path: str | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run, in one line."""

    run_id: str
    kind: str
    command: str
    host: str
    user: str
    started_unix_ns: int
    ended_unix_ns: int | None
    status: str
    exit_code: int | None
    parent_run_id: str | None
    cwd: str | None
    git_commit: str | None
    git_branch: str | None
    git_dirty: bool | None
    git_repository: str | None
    complete: bool
    incomplete_reason: str | None
    project: str | None
    git_modified: tuple[str, ...]
    input_count: int | None
    output_count: int | None
    lost_records: int | None = None
    unobserved_ns: int | None = None
    accounted_bytes: int | None = None
    seen_bytes: int | None = None
    principal_kind: str | None = None
    principal: str | None = None
    acting_for: str | None = None
    world_size: int | None = None
    attempts: int | None = None
    request_id: str | None = None
    repeats_run_id: str | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Process:
    """A process, in one line."""

    process_id: str
    pid: int
    argv: tuple[str, ...]
    exe: str | None
    cwd: str | None
    started_unix_ns: int | None
    ended_unix_ns: int | None
    exit_code: int | None
    exit_signal: int | None
    parent_process_id: str | None


@dataclass(frozen=True, slots=True)
class FileEdge:
    """One file on one side of a run."""

    path: str
    digest: str | None
    state: str | None
    reason: str | None
    class_: str
    size_bytes: int | None
    bytes: int | None
    first_unix_ns: int | None
    last_unix_ns: int | None
    producer_run_id: str | None
    producer_command: str | None
    deleted: bool | None
    origin: str | None = None
    changed_since: bool | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package that a run used."""

    ecosystem: str
    name: str
    version: str | None
    modified: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of an environment."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file of a repository that a run read and that was not as committed."""

    path: str
    change: str
    repository: str
    has_difference: bool


@dataclass(frozen=True, slots=True)
class TreeEdge:
    """A tree (dataset, checkpoint) on one side of a run, with how much of it was touched."""

    path: str
    digest: str
    kind: str
    wrote: bool
    members: int
    members_touched: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Production:
    """One act of making an artifact, with all that led to it."""

    run: Run
    process: Process | None
    path: str
    written_unix_ns: int | None
    inputs: tuple[FileEdge, ...]
    library_count: int
    root_inputs: tuple[FileEdge, ...]
    ancestry: tuple[Run, ...]
    truncated: bool
    complete: bool
    incomplete_reasons: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    superseded: bool = False
    trees: tuple[TreeEdge, ...] = ()


@dataclass(frozen=True, slots=True)
class PathVersion:
    """A version that was seen at a path."""

    digest: str | None
    state: str | None
    reason: str | None
    op: str
    run: Run | None
    at_unix_ns: int | None
    host: str
    path: str


@dataclass(frozen=True, slots=True)
class Found:
    """Everything known about one content or path."""

    artifact: Artifact | None
    productions: tuple[Production, ...]
    consumers: tuple[Run, ...]
    path_versions: tuple[PathVersion, ...]
    candidates: tuple[str, ...]
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunList:
    """Runs, newest first."""

    runs: tuple[Run, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run in full."""

    run: Run
    processes: tuple[Process, ...]
    inputs: tuple[FileEdge, ...]
    outputs: tuple[FileEdge, ...]
    steps: tuple[Run, ...]
    library_count: int
    truncated: bool
    tags: tuple[Tag, ...] = ()
    metrics: tuple[Metric, ...] = ()
    packages: tuple[Package, ...] = ()
    environment: tuple[Variable, ...] = ()
    code_changes: tuple[ChangedFile, ...] = ()
    trees: tuple[TreeEdge, ...] = ()


@dataclass(frozen=True, slots=True)
class LineageFile:
    """A file in a lineage graph."""

    key: str
    path: str
    digest: str | None
    state: str | None
    class_: str
    size_bytes: int | None
    root: bool


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """An edge in a lineage graph, in the direction that data flowed."""

    run_id: str
    file_key: str | None
    write: bool
    to_run_id: str | None
    at_unix_ns: int | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A graph of runs and files."""

    start: str
    runs: tuple[Run, ...]
    files: tuple[LineageFile, ...]
    edges: tuple[LineageEdge, ...]
    truncated: bool
    complete: bool
    incomplete_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnobservedTime:
    """A time in which nobody observed a host that had been observed before."""

    from_unix_ns: int
    until_unix_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon as the collector knows it."""

    host: str
    connected: bool
    last_batch_unix_ns: int | None
    daemon_version: str
    kernel: str
    back_end: str
    capabilities: tuple[str, ...]
    missing_capabilities: tuple[str, ...]
    lost: int
    canary_unix_ns: int | None = None
    canary_trouble: str | None = None
    unobserved: tuple[UnobservedTime, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How the collector and its daemons are."""

    version: str
    schema_version: int
    daemons: tuple[Daemon, ...]
    rows: Mapping[str, int]
    disk_free_bytes: int
    storage_error: str | None


KINDS: Mapping[str, type] = {
    "Artifact": Artifact,
    "RunSummary": Run,
    "ProcessSummary": Process,
    "FileEdge": FileEdge,
    "TreeEdge": TreeEdge,
    "Production": Production,
    "Package": Package,
    "Variable": Variable,
    "ChangedFile": ChangedFile,
    "PathVersion": PathVersion,
    "FindReply": Found,
    "ListRunsReply": RunList,
    "RunDetail": RunDetail,
    "LineageFile": LineageFile,
    "LineageEdge": LineageEdge,
    "LineageReply": Lineage,
    "DaemonStatus": Daemon,
    "UnobservedTime": UnobservedTime,
    "StatusReply": Status,
    **model_tags.KINDS,
}


def from_wire(kind: type[T], message: Message, kinds: Mapping[str, type] | None = None) -> T:
    """Return the dataclass `kind` with the values of the message of the same fields.

    kinds: the dataclass of each message that it holds; those of this module by default.
    """
    kinds = KINDS if kinds is None else kinds
    values = {}
    for field in message.DESCRIPTOR.fields:
        # The wire has no real oneof: one that holds a field is how proto3 writes `optional`.
        optional = field.containing_oneof is not None
        absent = optional and not message.HasField(field.name)
        values[_attribute(field.name)] = (
            None if absent else _value(getattr(message, field.name), kinds)
        )
    return kind(**values)


def _attribute(name: str) -> str:
    return "class_" if name == "class" else name


def _value(value: Any, kinds: Mapping[str, type]) -> object:
    if isinstance(value, str | bytes | int | float):
        return value
    if hasattr(value, "DESCRIPTOR"):
        return from_wire(kinds[value.DESCRIPTOR.name], value, kinds)
    if hasattr(value, "items"):
        return dict(value)
    return tuple(
        from_wire(kinds[item.DESCRIPTOR.name], item, kinds) if hasattr(item, "DESCRIPTOR") else item
        for item in value
    )


def document(value: object) -> object:
    """Return dicts, lists and plain values for JSON: every key present, unknown is null."""
    if is_dataclass(value):
        return {
            field.name.rstrip("_"): document(getattr(value, field.name)) for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {key: document(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [document(item) for item in value]
    return value


def order_productions(found: Found, path: str | None, host: str | None) -> tuple[Production, ...]:
    """Return the productions with the one that answers the question first, else newest first.

    The one that wrote the path that was asked for; else one that is more than a copy of the
    same bytes; else the newest.
    """
    digest = found.artifact.digest if found.artifact else None

    def rank(production: Production) -> int:
        if path is not None and production.path == path and host in (None, production.run.host):
            return 0
        if production.truncated and not production.inputs:
            return 3  # the collector put another one first and told only that one in full
        return 2 if digest in {edge.digest for edge in production.inputs} else 1

    best = min(found.productions, key=rank, default=None)
    return tuple(sorted(found.productions, key=lambda production: production is not best))
