"""Files without a name: made so, named late, or only ever in memory."""

from __future__ import annotations

import pytest
from tests.kernel.seen import Run

from whence_proto.v1 import ingest_pb2 as wire
from whenced.rows import AccessRow, NameRow

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("behaviour", ["linked_by_procfs", "linked_by_descriptor"])
def test_a_file_that_is_named_late_leads_to_its_writer(run: Run, behaviour: str) -> None:
    """O_TMPFILE, write, linkat: the written file is the one that got the name."""
    seen = run("nameless", behaviour)
    (named,) = seen.of(NameRow)
    writes = [row for row in seen.of(AccessRow) if row.op == wire.ACCESS_OP_WRITE]

    assert named.change == wire.NAME_CHANGE_RENAME
    assert named.new_path == f"{seen.place}/out"
    assert {row.path for row in writes} == {named.path}
    assert {row.file[:3] for row in writes} == {named.file[:3] if named.file else None}


def test_memory_files_are_marked_nameless(run: Run) -> None:
    """memfd_create: written and read, under a name that leads nowhere."""
    seen = run("nameless", "in_memory")
    uses = {
        (row.op, row.path) for row in seen.of(AccessRow) if row.flags & wire.ACCESS_FLAG_NAMELESS
    }

    assert uses == {
        (wire.ACCESS_OP_WRITE, "/memfd:scratch"),
        (wire.ACCESS_OP_READ, "/memfd:scratch"),
    }
    assert seen.edges() == []
