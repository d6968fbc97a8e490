"""Rows into columns, dictionaries and batches; the rule of when to close one; lost rows told."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from whence_proto.v1 import ingest_pb2
from whenced.batching import (
    FLOOD_GAP_NS,
    FLUSH_ROWS,
    IDLE_NS,
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    URGENT_NS,
    BatchBuilder,
    FlushPolicy,
    Outbox,
)
from whenced.rows import (
    AccessRow,
    CodeRow,
    DigestRow,
    EndRow,
    FileVersion,
    LossRow,
    NameRow,
    ProcessKey,
    Row,
    StartRow,
    StreamRow,
    text_of,
)

BASE_NS = 10**15
SHELL = ProcessKey(100, 5_000, 0)
PYTHON = ProcessKey(101, 6_000, 1)
DATA = FileVersion(8388609, 42, 7, 0)
MODEL = FileVersion(8388609, 43, 9, 3 << 32)


def access(path: str = "/d", process: ProcessKey = PYTHON, at_ns: int = BASE_NS) -> AccessRow:
    return AccessRow(process, DATA, path, ingest_pb2.ACCESS_OP_READ, 1, 10, at_ns, at_ns)


def closed(*rows: Row) -> ingest_pb2.Batch:
    builder = BatchBuilder("host", "boot", "epoch")
    builder.extend(rows)
    return builder.close(1, BASE_NS, -3)


def test_head_of_a_batch() -> None:
    batch = closed(access())

    head = (batch.host, batch.boot_id, batch.epoch, batch.number)
    assert head == ("host", "boot", "epoch", 1)
    assert (batch.base_ns, batch.wall_offset_ns) == (BASE_NS, -3)


def test_dictionaries_hold_each_key_once_in_order_of_use() -> None:
    batch = closed(access("/a"), access("/b", SHELL), access("/a"))

    assert list(batch.strings) == ["/a", "/b"]
    assert list(batch.accesses.path_text) == [1, 2, 1]
    assert list(batch.accesses.process) == [1, 2, 1]
    assert list(batch.process_keys.tgid) == [101, 100]
    assert list(batch.process_keys.start_ns) == [6_000, 5_000]
    assert list(batch.process_keys.image) == [1, 0]
    assert list(batch.accesses.file) == [1, 1, 1]
    assert list(batch.file_versions.generation) == [7]


def test_unknown_and_empty_texts_are_0() -> None:
    row = StartRow(PYTHON, None, BASE_NS, ingest_pb2.PROCESS_ORIGIN_EXEC, arguments=("a", "", "b"))
    table = closed(row).process_starts

    assert list(table.parent) == [0]
    assert list(table.exe_text) == [0]
    assert list(table.exe_file) == [0]
    assert list(table.argument_text) == [1, 0, 2]


def test_every_column_of_a_start() -> None:
    row = StartRow(
        process=PYTHON,
        parent=SHELL,
        at_ns=BASE_NS + 5,
        origin=ingest_pb2.PROCESS_ORIGIN_EXEC,
        exe="/bin/python",
        exe_file=DATA,
        script="/w/train.py",
        arguments=("python", "train.py"),
        arguments_truncated=True,
        cwd="/w",
        uid=1000,
        user="ann",
        login_uid=1000,
        session=90,
        process_group=91,
        terminal=34816,
        cgroup="/user.slice",
        mount_namespace=11,
        pid_namespace=12,
        command_name="python",
    )
    batch = closed(row)
    table = batch.process_starts
    cells = {field.name: list(value) for field, value in table.ListFields()}
    texts = {
        name.removesuffix("_text"): [batch.strings[index - 1] for index in column]
        for name, column in cells.items()
        if name.endswith("_text")
    }

    assert texts == {
        "exe": ["/bin/python"],
        "script": ["/w/train.py"],
        "argument": ["python", "train.py"],
        "cwd": ["/w"],
        "user": ["ann"],
        "cgroup": ["/user.slice"],
        "command_name": ["python"],
    }
    numbers = {name: column for name, column in cells.items() if not name.endswith("_text")}
    assert numbers == {
        "process": [1],
        "parent": [2],
        "at_ns": [5],
        "origin": [2],
        "exe_file": [1],
        "argument_count": [2],
        "arguments_truncated": [True],
        "uid": [1000],
        "login_uid": [1000],
        "session": [90],
        "process_group": [91],
        "terminal": [34816],
        "mount_namespace": [11],
        "pid_namespace": [12],
    }


def test_other_tables() -> None:
    batch = closed(
        EndRow(PYTHON, BASE_NS - 1, exit_code=3, exit_signal=9, replaced=True),
        NameRow(PYTHON, ingest_pb2.NAME_CHANGE_RENAME, BASE_NS, "/t", "/m", MODEL, True, 11),
        DigestRow(MODEL, ingest_pb2.DIGEST_STATE_VERIFIED, BASE_NS, b"b" * 32, b"", 5, None, "/m"),
        CodeRow(PYTHON, "/w", "c0ffee", None, "url", True, ("a.py", "b.py"), BASE_NS),
        StreamRow(PYTHON, 14, 99, True, BASE_NS, None),
        LossRow("touch", 10, 8, 2, "ring full", BASE_NS - 9, BASE_NS),
    )

    ends, names, digests = batch.process_ends, batch.name_changes, batch.digests
    assert (list(ends.at_ns), list(ends.exit_code), list(ends.replaced)) == ([-1], [3], [True])
    assert list(ends.exit_signal) == [9]
    assert [batch.strings[i - 1] for i in (*names.path_text, *names.new_path_text)] == ["/t", "/m"]
    assert (list(names.directory), list(names.mount_namespace)) == ([True], [11])
    assert (list(digests.blake3), list(digests.sha256)) == ([b"b" * 32], [b""])
    assert (list(digests.size_bytes), list(digests.reason_text)) == ([5], [0])
    codes, streams, losses = batch.code_states, batch.stream_touches, batch.losses
    assert (list(codes.modified_count), list(codes.branch_text)) == ([2], [0])
    assert [batch.strings[i - 1] for i in codes.modified_text] == ["a.py", "b.py"]
    assert (list(streams.inode), list(streams.write)) == ([99], [True])
    assert (list(losses.attempted), list(losses.received), list(losses.lost)) == ([10], [8], [2])
    assert (list(losses.from_ns), list(losses.until_ns)) == ([-9], [0])


@given(
    st.lists(
        st.builds(
            AccessRow,
            process=st.builds(
                ProcessKey, st.integers(0, 3), st.integers(0, 2**63), st.integers(0, 2)
            ),
            file=st.builds(FileVersion, *[st.integers(0, 2)] * 3, st.integers(0, 2**64 - 1)),
            path=st.none() | st.text(min_size=1),
            op=st.integers(1, 5),
            ops=st.integers(0, 2**64 - 1),
            bytes=st.integers(0, 2**64 - 1),
            first_ns=st.integers(0, 2**62),
            last_ns=st.integers(0, 2**62),
            flags=st.integers(0, 63),
            mount_namespace=st.integers(0, 2**32 - 1),
        )
    )
)
def test_accesses_survive_the_wire(rows: list[AccessRow]) -> None:
    batch = ingest_pb2.Batch.FromString(closed(*rows).SerializeToString())
    keys, files, table = batch.process_keys, batch.file_versions, batch.accesses
    processes = [ProcessKey(*cells) for cells in zip(keys.tgid, keys.start_ns, keys.image)]  # noqa: B905 - the receiver's view, lengths are what is tested
    versions = [
        FileVersion(*cells)
        for cells in zip(files.device, files.inode, files.generation, files.version, strict=True)
    ]
    decoded = [
        AccessRow(
            processes[table.process[i] - 1],
            versions[table.file[i] - 1],
            batch.strings[table.path_text[i] - 1] if table.path_text[i] else None,
            table.op[i],
            table.ops[i],
            table.bytes[i],
            table.first_ns[i] + BASE_NS,
            table.last_ns[i] + BASE_NS,
            table.flags[i],
            table.mount_namespace[i],
        )
        for i in range(len(table.process))
    ]

    assert decoded == rows


def test_bytes_that_are_not_text() -> None:
    raw = b"/d/caf\xc3\xa9-\xff"

    assert text_of(raw) == "/d/café-\\xff"
    assert list(closed(access(os.fsdecode(raw))).strings) == ["/d/café-\\xff"]


def test_a_batch_is_capped_and_the_rest_waits() -> None:
    builder = BatchBuilder("host", "boot", "epoch")
    builder.extend(access() for _ in range(MAX_BATCH_ROWS + 1))
    sizes = [len(builder.close(n, BASE_NS, 0).accesses.process) for n in (1, 2)]

    assert sizes == [MAX_BATCH_ROWS, 1]
    assert builder.rows == 0


def test_long_texts_make_more_batches_not_larger_ones() -> None:
    builder = BatchBuilder("host", "boot", "epoch")
    builder.extend(access(f"/{n:0>4000}") for n in range(2_000))
    batches = []
    while builder.rows:
        batches.append(builder.close(1, BASE_NS, 0))

    assert max(batch.ByteSize() for batch in batches) <= MAX_BATCH_BYTES
    texts = [text for batch in batches for text in batch.strings]
    assert texts == [f"/{n:0>4000}" for n in range(2_000)]


def test_nothing_is_never_due() -> None:
    assert FlushPolicy().wait_ns(0, 99) is None


def test_quiet_rows_wait_from_the_first_of_them() -> None:
    policy = FlushPolicy()

    assert policy.wait_ns(1, 1_000) == IDLE_NS
    assert policy.wait_ns(9, 1_000 + IDLE_NS) == 0
    policy.flushed(1_000 + IDLE_NS)
    assert policy.wait_ns(1, 2_000 + IDLE_NS) == IDLE_NS


def test_urgent_rows_wait_less_and_the_mark_is_used_up() -> None:
    policy = FlushPolicy()
    policy.mark_urgent(1_000)
    policy.mark_urgent(2_000)

    assert policy.wait_ns(1, 1_000) == URGENT_NS
    assert policy.wait_ns(1, 1_000 + URGENT_NS) == 0
    policy.flushed(5_000)
    assert policy.wait_ns(1, 5_000) == IDLE_NS


def test_many_rows_are_due_but_not_in_tiny_batches_of_a_flood() -> None:
    policy = FlushPolicy()

    assert policy.wait_ns(FLUSH_ROWS - 1, 0) == IDLE_NS
    assert policy.wait_ns(FLUSH_ROWS, 0) == 0
    policy.flushed(0)
    assert policy.wait_ns(FLUSH_ROWS, 10) == FLOOD_GAP_NS - 10
    assert policy.wait_ns(MAX_BATCH_ROWS, 10) == 0


class Shelf:
    """A sink with room for so many batches; it keeps what it takes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.lost: dict[str, int] = {}
        self.batches: list[ingest_pb2.Batch] = []

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether a batch would be taken."""
        return self.room > 0

    def refuse(self, rows: int) -> None:
        """Take note of nothing."""

    def unwritten(self) -> list[tuple[int, bytes, int]]:
        """Give what is nowhere else."""
        return []

    def put(self, number: int, payload: bytes, rows: int) -> bool:
        """Keep the batch where there is room."""
        if self.room == 0:
            return False
        self.room -= 1
        self.batches.append(ingest_pb2.Batch.FromString(payload))
        assert self.batches[-1].number == number
        return True

    def take_lost(self) -> dict[str, int]:
        """Give what the test says is lost."""
        lost, self.lost = self.lost, {}
        return lost


def losses_of(batch: ingest_pb2.Batch) -> list[tuple[str, int, int, int, str]]:
    table = batch.losses
    return [
        (
            batch.strings[table.class_text[i] - 1],
            table.attempted[i],
            table.received[i],
            table.lost[i],
            batch.strings[table.reason_text[i] - 1],
        )
        for i in range(len(table.lost))
    ]


def test_batches_are_numbered_from_1() -> None:
    builder, shelf = BatchBuilder("host", "boot", "epoch"), Shelf(9)
    outbox = Outbox(builder, shelf, 0)
    builder.extend(access() for _ in range(MAX_BATCH_ROWS + 1))

    assert outbox.flush(BASE_NS, 0) == 2
    assert outbox.flush(BASE_NS, 0) == 0
    assert [batch.number for batch in shelf.batches] == [1, 2]


def test_a_refused_batch_is_told_in_the_next_and_leaves_no_gap() -> None:
    builder, shelf = BatchBuilder("host", "boot", "epoch"), Shelf(1)
    outbox = Outbox(builder, shelf, 0)
    for _ in range(3):
        builder.extend([access(), access()])
        outbox.flush(BASE_NS, 0)
    shelf.room = 2
    for _ in range(2):
        builder.add(access())
        outbox.flush(BASE_NS + 7, 0)

    assert [batch.number for batch in shelf.batches] == [1, 2, 3]
    full = "the spool was full on disk and in memory"
    assert [losses_of(b) for b in shelf.batches] == [[], [("row", 6, 2, 4, full)], []]


def test_what_the_sink_lost_later_is_told_even_without_rows() -> None:
    builder, shelf = BatchBuilder("host", "boot", "epoch"), Shelf(1)
    shelf.lost = {"a batch was damaged on disk": 40}
    Outbox(builder, shelf, 0).flush(BASE_NS, 0)

    assert [losses_of(b) for b in shelf.batches] == [
        [("row", 40, 0, 40, "a batch was damaged on disk")]
    ]


def test_a_row_larger_than_a_message_is_lost_and_told() -> None:
    builder, shelf = BatchBuilder("host", "boot", "epoch"), Shelf(9)
    outbox = Outbox(builder, shelf, 0)
    builder.extend([access("/" + "x" * (5 << 20)), access("/b")])
    outbox.flush(BASE_NS, 0)
    builder.add(access("/c"))
    outbox.flush(BASE_NS, 0)
    lost = [loss[3] for batch in shelf.batches for loss in losses_of(batch)]

    assert [b.strings[0] for b in shelf.batches if b.accesses.process] == ["/b", "row"]
    assert lost == [1]
