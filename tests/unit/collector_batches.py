"""Batches as a daemon would send them, for tests of the collector."""

from __future__ import annotations

from typing import Any

from whence_collector.gpu_tables import GPU_TABLES
from whence_proto.v1 import ingest_pb2 as wire

BASE_NS = 5_000_000_000
OFFSET_NS = 1_700_000_000_000_000_000
ZERO_UNIX_NS = BASE_NS + OFFSET_NS

START_DEFAULTS: dict[str, Any] = {
    "parent": 0,
    "at_ns": 0,
    "origin": wire.PROCESS_ORIGIN_EXEC,
    "exe": "/usr/bin/python3",
    "exe_file": 0,
    "script": None,
    "arguments": (),
    "arguments_truncated": False,
    "cwd": "/work",
    "uid": 1000,
    "user": "ada",
    "login_uid": 1000,
    "session": 10,
    "process_group": 11,
    "terminal": 0,
    "cgroup": "/user.slice",
    "mount_namespace": 1,
    "pid_namespace": 2,
    "command_name": "python3",
}


ACCOUNTED = (
    "read_bytes",
    "written_bytes",
    "read_seen_bytes",
    "written_seen_bytes",
    "read_calls",
    "written_calls",
    "allowed_bytes",
)


class BatchMaker:
    """Builds one batch row by row; text, processes and files are entered on first use."""

    def __init__(self, number: int = 1, epoch: str = "e1", boot: str = "boot-a") -> None:
        self.batch = wire.Batch(
            host="h1",
            boot_id=boot,
            epoch=epoch,
            number=number,
            wall_offset_ns=OFFSET_NS,
            base_ns=BASE_NS,
        )

    def text(self, value: str | None) -> int:
        """Return the index of a text; 0 for None."""
        if value is None:
            return 0
        if value not in self.batch.strings:
            self.batch.strings.append(value)
        return list(self.batch.strings).index(value) + 1

    def process(self, tgid: int, image: int = 0, start_ns: int = 1) -> int:
        """Return the index of a process."""
        keys = self.batch.process_keys
        known = list(zip(keys.tgid, keys.start_ns, keys.image, strict=True))
        if (tgid, start_ns, image) not in known:
            keys.tgid.append(tgid)
            keys.start_ns.append(start_ns)
            keys.image.append(image)
            known.append((tgid, start_ns, image))
        return known.index((tgid, start_ns, image)) + 1

    def file(self, inode: int, version: int = 0) -> int:
        """Return the index of a version of a file."""
        files = self.batch.file_versions
        known = list(zip(files.inode, files.version, strict=True))
        if (inode, version) not in known:
            files.device.append(8)
            files.inode.append(inode)
            files.generation.append(1)
            files.version.append(version)
            known.append((inode, version))
        return known.index((inode, version)) + 1

    def start(self, process: int, **given: Any) -> BatchMaker:
        """Add a process row; given columns replace the defaults."""
        row = START_DEFAULTS | given
        table = self.batch.process_starts
        table.process.append(process)
        arguments = row.pop("arguments")
        table.argument_count.append(len(arguments))
        table.argument_text.extend(self.text(each) for each in arguments)
        for name in ("exe", "script", "cwd", "user", "cgroup", "command_name"):
            getattr(table, f"{name}_text").append(self.text(row.pop(name)))
        for name, value in row.items():
            getattr(table, name).append(value)
        return self

    def end(self, process: int, at_ns: int = 9, exit_code: int = 0) -> BatchMaker:
        """Add the end of a process."""
        table = self.batch.process_ends
        table.process.append(process)
        table.at_ns.append(at_ns)
        table.exit_code.append(exit_code)
        table.exit_signal.append(0)
        table.replaced.append(False)
        return self

    def access(
        self, process: int, file: int, path: str, op: int = wire.ACCESS_OP_READ, at_ns: int = 1
    ) -> BatchMaker:
        """Add an access of two calls and 100 bytes."""
        table = self.batch.accesses
        table.process.append(process)
        table.file.append(file)
        table.path_text.append(self.text(path))
        table.op.append(op)  # type: ignore[arg-type]  # tests send numbers that are no AccessOp
        table.ops.append(2)
        table.bytes.append(100)
        table.first_ns.append(at_ns)
        table.last_ns.append(at_ns + 1)
        table.flags.append(0)
        table.mount_namespace.append(1)
        return self

    def digest(
        self,
        file: int,
        path: str,
        blake3: bytes = b"",
        state: int = wire.DIGEST_STATE_VERIFIED,
        sha256: bytes = b"",
        reason: str | None = None,
    ) -> BatchMaker:
        """Add a statement about a version; its size is the length of the path."""
        table = self.batch.digests
        table.file.append(file)
        table.state.append(state)  # type: ignore[arg-type]  # as above
        table.blake3.append(blake3)
        table.sha256.append(sha256)
        table.size_bytes.append(len(path))
        table.reason_text.append(self.text(reason))
        table.at_ns.append(3)
        table.path_text.append(self.text(path))
        return self

    def rename(self, process: int, old: str, new: str) -> BatchMaker:
        """Add a rename."""
        table = self.batch.name_changes
        table.process.append(process)
        table.change.append(wire.NAME_CHANGE_RENAME)
        table.at_ns.append(5)
        table.path_text.append(self.text(old))
        table.new_path_text.append(self.text(new))
        table.file.append(0)
        table.directory.append(False)
        table.mount_namespace.append(1)
        return self


def _mark(maker: BatchMaker, process: int) -> None:
    """Add a walk that found one process."""
    marks = maker.batch.capture_marks
    marks.mark.append(wire.CAPTURE_MARK_WALKED)
    marks.at_ns.append(3)
    marks.alive_count.append(1)
    marks.alive.append(process)
    for name, value in zip(ACCOUNTED, (4096, 8192, 4096, 8192, 0, 0, 49_152), strict=True):
        getattr(maker.batch.accounts, name).append(value)
    maker.batch.accounts.process.append(process)
    maker.batch.accounts.at_ns.append(8)


def one_of_each(number: int = 1, epoch: str = "e1") -> wire.Batch:
    """Return a batch with a row in every table."""
    maker = BatchMaker(number, epoch)
    shell, python = maker.process(100), maker.process(101)
    source, model = maker.file(1), maker.file(2, 1 << 32)
    maker.start(shell, exe="/bin/sh", command_name="sh")
    maker.start(python, parent=shell, exe_file=source, arguments=("python3", "train.py", ""))
    maker.end(python, exit_code=3)
    maker.access(python, source, "/work/train.py")
    maker.access(python, model, "/work/model.tmp", wire.ACCESS_OP_WRITE)
    maker.rename(python, "/work/model.tmp", "/work/model.pt")
    maker.digest(source, "/work/train.py", b"s" * 32)
    maker.digest(model, "/work/model.pt", b"m" * 32, sha256=b"x" * 32)
    states, touches, losses = (
        maker.batch.code_states,
        maker.batch.stream_touches,
        maker.batch.losses,
    )
    states.process.append(python)
    states.repository_text.append(maker.text("/work"))
    states.commit_text.append(maker.text("c" * 40))
    states.branch_text.append(maker.text("main"))
    states.remote_text.append(0)
    states.dirty.append(True)
    states.modified_count.append(1)
    states.modified_text.append(maker.text("train.py"))
    states.at_ns.append(4)
    touches.process.append(python)
    touches.device.append(13)
    touches.inode.append(2**63 + 5)
    touches.write.append(True)
    touches.at_ns.append(2)
    touches.path_text.append(0)
    losses.class_text.append(maker.text("touch"))
    losses.attempted.append(10)
    losses.received.append(7)
    losses.lost.append(3)
    losses.reason_text.append(maker.text("ring full"))
    losses.process.append(python)
    losses.from_ns.append(0)
    losses.until_ns.append(9)
    _tell_recipe(maker, python, model)
    _tell_gpus(maker, python)
    _mark(maker, python)
    _tell_words(maker, python)
    return maker.batch


def _tell_gpus(maker: BatchMaker, process: int) -> None:
    _add(maker.batch.blind_spots, process=process, reason_text=maker.text("unseen"), at_ns=5)
    """Add a row to each table about GPUs; every number of theirs is 1."""
    gpu = maker.text("GPU-1")
    for table in GPU_TABLES:
        rows = getattr(maker.batch, table.name)
        for column in table.columns:
            values = {"process": process, "text": gpu}
            getattr(rows, column.name).append(values.get(column.kind, 1))


def _tell_recipe(maker: BatchMaker, process: int, file: int) -> None:
    """Add a row to each table of the recipe."""
    batch, text = maker.batch, maker.text
    environments = batch.environments
    environments.process.append(process)
    environments.truncated.append(False)
    environments.variable_count.append(4)
    environments.variable_text.extend([text("RANK"), text("0"), text("SEED"), 0])
    _add(batch.package_uses, process=process, ecosystem_text=text("pypi"), name_text=text("torch"),
         version_text=text("2.9.1"), location_text=0, record_sha256=b"r" * 32, modified=True,
         at_ns=5)  # fmt: skip
    _add(batch.code_changes, process=process, repository_text=text("/work"),
         path_text=text("train.py"), change=wire.CODE_CHANGE_MODIFIED, commit_text=0,
         difference_text=text("@@ -1 +1 @@"), reason_text=0, redacted=False, at_ns=6)  # fmt: skip
    _add(batch.file_origins, file=file, publisher_text=text("huggingface"), kind_text=text("model"),
         repository_text=text("org/base"), revision_text=text("a" * 40), reference_text=0,
         name_text=text("model.pt"), at_ns=7)  # fmt: skip
    _add(batch.containers, id_text=text("f" * 64), runtime_text=text("docker"), name_text=0,
         image_text=text("base:1"), image_digest_text=0, at_ns=8)  # fmt: skip


def _tell_words(maker: BatchMaker, process: int) -> None:
    """Add a tag and a metric of a process."""
    text = maker.text
    _add(maker.batch.job_tags, process=process, key_text=text("project"),
         value_text=text("tickets"), removed=False, inherit=False, uid=1000, user_text=text("ada"),
         at_ns=6)  # fmt: skip
    _add(maker.batch.job_metrics, process=process, name_text=text("acc"), value=0.93, step=400,
         has_step=True, at_ns=7)  # fmt: skip


def _add(table: Any, **row: Any) -> None:
    for name, value in row.items():
        getattr(table, name).append(value)
