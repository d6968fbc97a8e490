"""Every case of the table: exactly its edges, no more and no fewer."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kernel.case import Case, Tree
from tests.kernel.cases import CASES, PAGE, page
from tests.kernel.seen import Run, Seen
from tests.kernel.witness import Witness
from tests.kernel.workload import Workloads, mounted

from whenced.record import Kind
from whenced.rows import AccessRow, NameRow, StreamRow, UnseenRow

pytestmark = pytest.mark.kernel


def plant(place: Path, tree: Tree) -> None:
    """Make what stands there before the program runs."""
    for name, content in tree.items():
        if content is None:
            (place / name).mkdir()
        elif isinstance(content, str):
            (place / name).symlink_to(content)
        elif name == "target":
            shutil.copy("/bin/true", place / name)
        else:
            (place / name).write_bytes(content)
            if content.startswith((b"#!", b"\0")):
                (place / name).chmod(0o755)


@contextmanager
def stage(case: Case, place: Path) -> Iterator[Path]:
    """Return the working directory of a case, on the file system that it wants."""
    if not case.on:
        plant(place, case.given)
        yield place
        return
    with mounted(place, case.on) as directory:
        plant(directory, case.given)
        yield directory


def edges_of(seen: Seen) -> tuple[str, ...]:
    """Edges below the place; a file without a name is "#", whatever its number."""
    inodes = {f"#{row.file.inode}" for row in seen.of(AccessRow)}
    words = seen.edges()
    for inode in inodes:
        words = [edge.replace(inode, "#") for edge in words]
    return tuple(sorted(set(words) if "#" in "".join(words) else words))


def whole_pipes(seen: Seen) -> int:
    """How many pipes were both written and read."""
    ends: dict[int, set[bool]] = defaultdict(set)
    for row in seen.of(StreamRow):
        ends[row.inode].add(row.write)
    return sum(1 for both in ends.values() if len(both) == 2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, witness: Witness, workloads: Workloads, place: Path) -> None:
    """Edges, and what the case says beyond them."""
    with stage(case, place) as directory:
        seen = witness.run(workloads.command(case.program, *case.does.split()), directory)
    unseen = [row.reason for row in seen.of(UnseenRow)]

    assert edges_of(seen) == tuple(sorted(case.edges))
    for edge, counts in case.moved.items():
        use = seen.use(*edge.split(" ", 1))

        assert (edge, use.ops, use.bytes) == (edge, *counts)
    if case.by_printed:
        assert seen.users() == {edge: {int(seen.output)} for edge in case.edges}
    assert len({seen.identity(edge) for edge in case.one_file}) <= 1
    assert whole_pipes(seen) == case.pipes
    assert len(unseen) == len(case.unseen)
    assert all(words in reason for words, reason in zip(case.unseen, unseen, strict=True))


def test_names_of_cases_are_unique() -> None:
    """A reader of the page finds one case for each name."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_the_page_is_written_from_the_table() -> None:
    """docs/conformance.md equals what ``python -m tests.kernel.cases`` writes now."""
    assert PAGE.read_text() == page(PAGE.read_text())


def test_a_writable_descriptor_tells_its_close_whoever_closes_it(
    witness: Witness, workloads: Workloads, place: Path
) -> None:
    """dup2 and dup3 over it, and close_range: two, and three copies of a third."""
    plant(place, {"data": b"content", "out": b""})
    witness.run(workloads.command("descriptors", "closed_by_others"), place)
    kinds = [int(kind) for rows in witness.records for kind in rows["kind"]]

    assert kinds.count(Kind.CLOSE_WRITE) == 5


def test_a_name_that_is_swapped_during_the_call_is_not_believed(
    run: Run, place: Path, workloads: Workloads
) -> None:
    """Phantom v1: a second thread rewrites the path while the kernel renames, 2,000 times.

    The program counts by trying the names where its file really went.
    """
    (place / "data").write_bytes(b"content")
    seen = run("names", "swapped_names", "2000")
    moved, decoy = (int(word) for word in seen.output.split())
    edges = seen.edges()
    told = {name: edges.count(f"rename data -> {name}") for name in ("moved", "decoy")}

    assert moved + decoy > 0
    assert told == {"moved": moved, "decoy": decoy}


def test_a_file_number_that_is_used_again_is_another_file(run: Run) -> None:
    """ext4 gives the number of a deleted file to the next: two identities, by generation."""
    seen = run("names", "number_reused")
    first = seen.identity("write first")
    files = {row.file[:3] for row in seen.of(AccessRow) if "/later" in (row.path or "")}

    assert first is not None
    assert [each[0:2] for each in files if each[1] == first.inode] == [first[0:2]]
    assert tuple(first) not in files


def test_a_process_number_that_is_used_again_is_another_process(run: Run) -> None:
    """clone3 with set_tid: one number, two starts, each with its own file."""
    seen = run("lives", "number_reused")
    writers = {row.path: row.process for row in seen.of(AccessRow)}
    one, two = (writers[f"{seen.place}/{name}"] for name in ("one", "two"))

    assert one.tgid == two.tgid == int(seen.output)
    assert one.start_ns != two.start_ns


def test_behind_a_new_root_paths_are_those_of_its_namespace(run: Run, place: Path) -> None:
    """pivot_root: the old root is gone there, so the path begins at the new one, and says where."""
    plant(place, {"inner": None, "alias": None, "inner/data": b"content"})
    seen = run("places", "new_root")
    own = Path("/proc/self/ns/mnt").stat().st_ino
    (read,) = [row for row in seen.of(AccessRow) if row.path == "/data"]
    names = [(row.path, row.new_path) for row in seen.of(NameRow)]

    assert names == [("/data", "/moved")]
    assert read.file.inode == (place / "inner" / "moved").stat().st_ino
    assert read.mount_namespace != own
