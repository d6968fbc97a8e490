"""The tables of ingest.proto, and what each of their columns may hold.

Data; check.py applies it.
"""

from __future__ import annotations

from whence_collector.gpu_tables import GPU_TABLES
from whence_collector.wire_table import Column, Table
from whence_proto.v1 import ingest_pb2 as wire

TABLES = (
    Table(
        "process_starts",
        (
            Column("process", "process", known=True),
            Column("parent", "process"),
            Column("at_ns", "time"),
            Column("origin", "enum", highest=max(wire.ProcessOrigin.values())),
            Column("exe_text", "text"),
            Column("exe_file", "file"),
            Column("script_text", "text"),
            Column("argument_count"),
            Column("arguments_truncated"),
            Column("cwd_text", "text"),
            Column("uid"),
            Column("user_text", "text"),
            Column("login_uid"),
            Column("session"),
            Column("process_group"),
            Column("terminal"),
            Column("cgroup_text", "text"),
            Column("mount_namespace"),
            Column("pid_namespace"),
            Column("command_name_text", "text"),
        ),
        "argument_count",
        "argument_text",
    ),
    Table(
        "process_ends",
        (
            Column("process", "process", known=True),
            Column("at_ns", "time"),
            Column("exit_code"),
            Column("exit_signal"),
            Column("replaced"),
        ),
    ),
    Table(
        "accesses",
        (
            Column("process", "process"),
            Column("file", "file"),
            Column("path_text", "text"),
            Column("op", "enum", highest=max(wire.AccessOp.values())),
            Column("ops", "count"),
            Column("bytes", "count"),
            Column("first_ns", "time"),
            Column("last_ns", "time"),
            Column("flags"),
            Column("mount_namespace"),
        ),
        as_arrays=True,
    ),
    Table(
        "name_changes",
        (
            Column("process", "process"),
            Column("change", "enum", highest=max(wire.NameChange.values())),
            Column("at_ns", "time"),
            Column("path_text", "text"),
            Column("new_path_text", "text"),
            Column("file", "file"),
            Column("directory"),
            Column("mount_namespace"),
        ),
    ),
    Table(
        "digests",
        (
            Column("file", "file", known=True),
            Column("state", "enum", highest=max(wire.DigestState.values())),
            Column("blake3", "bytes"),
            Column("sha256", "bytes"),
            Column("size_bytes", "count"),
            Column("reason_text", "text"),
            Column("at_ns", "time"),
            Column("path_text", "text"),
        ),
        as_arrays=True,
    ),
    Table(
        "code_states",
        (
            Column("process", "process", known=True),
            Column("repository_text", "text", known=True),
            Column("commit_text", "text"),
            Column("branch_text", "text"),
            Column("remote_text", "text"),
            Column("dirty"),
            Column("modified_count"),
            Column("at_ns", "time"),
        ),
        "modified_count",
        "modified_text",
    ),
    Table(
        "stream_touches",
        (
            Column("process", "process"),
            Column("device"),
            Column("inode"),
            Column("write"),
            Column("at_ns", "time"),
            Column("path_text", "text"),
        ),
    ),
    Table(
        "blind_spots",
        (
            Column("process", "process", known=True),
            Column("reason_text", "text", known=True),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "losses",
        (
            Column("class_text", "text", known=True),
            Column("attempted", "count"),
            Column("received", "count"),
            Column("lost", "count"),
            Column("reason_text", "text"),
            Column("from_ns", "time"),
            Column("until_ns", "time"),
            Column("process", "process", late=True),
        ),
    ),
    Table(
        "capture_marks",
        (
            Column("mark", "enum", highest=max(wire.CaptureMark.values())),
            Column("at_ns", "time"),
            Column("alive_count"),
        ),
        "alive_count",
        "alive",
        list_of="process",
    ),
    Table(
        "accounts",
        (
            Column("process", "process", known=True),
            Column("at_ns", "time"),
            *(
                Column(name, "count")
                for name in (
                    "read_bytes",
                    "written_bytes",
                    "read_seen_bytes",
                    "written_seen_bytes",
                    "read_calls",
                    "written_calls",
                    "allowed_bytes",
                )
            ),
        ),
    ),
    Table(
        "environments",
        (
            Column("process", "process", known=True),
            Column("truncated"),
            Column("variable_count"),
        ),
        "variable_count",
        "variable_text",
    ),
    Table(
        "package_uses",
        (
            Column("process", "process", known=True),
            Column("ecosystem_text", "text", known=True),
            Column("name_text", "text", known=True),
            Column("version_text", "text"),
            Column("location_text", "text"),
            Column("record_sha256"),
            Column("modified"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "code_changes",
        (
            Column("process", "process", known=True),
            Column("repository_text", "text", known=True),
            Column("path_text", "text", known=True),
            Column("change", "enum", highest=max(wire.CodeChange.values())),
            Column("commit_text", "text"),
            Column("difference_text", "text"),
            Column("reason_text", "text"),
            Column("redacted"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "file_origins",
        (
            Column("file", "file", known=True),
            Column("publisher_text", "text", known=True),
            Column("kind_text", "text", known=True),
            Column("repository_text", "text", known=True),
            Column("revision_text", "text"),
            Column("reference_text", "text"),
            Column("name_text", "text"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "containers",
        (
            Column("id_text", "text", known=True),
            Column("runtime_text", "text"),
            Column("name_text", "text"),
            Column("image_text", "text"),
            Column("image_digest_text", "text"),
            Column("at_ns", "time"),
        ),
    ),
    *GPU_TABLES,
    Table(
        "job_tags",
        (
            Column("process", "process", known=True),
            Column("key_text", "text", known=True),
            Column("value_text", "text"),
            Column("removed"),
            Column("inherit"),
            Column("uid"),
            Column("user_text", "text"),
            Column("at_ns", "time"),
        ),
    ),
    Table(
        "job_metrics",
        (
            Column("process", "process", known=True),
            Column("name_text", "text", known=True),
            Column("value"),
            Column("step"),
            Column("has_step"),
            Column("at_ns", "time"),
        ),
    ),
)

DICTIONARIES = (
    Table(
        "process_keys",
        (Column("tgid"), Column("start_ns", "count"), Column("image")),
        as_arrays=True,
    ),
    Table(
        "file_versions",
        (Column("device"), Column("inode"), Column("generation"), Column("version")),
        as_arrays=True,
    ),
)
