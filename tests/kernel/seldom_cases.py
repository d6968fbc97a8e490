"""Cases on seldom ways: what one who wants to go unseen would try, and what nobody thinks of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tests.kernel.case import BOTH, FILES, PLACES, Case, Tree


def _interpreted() -> Iterator[Case]:
    """Programs that the kernel or a loader runs in the place of what was named."""
    read = ("read script",)
    yield Case(
        "script with env -S", "programs", "script", read,
        {"script": b"#!/usr/bin/env -S sh -e\nexit 0\n"},
    )  # fmt: skip
    chain: Tree = {"script": b"#!./second\n", "second": b"#!/bin/sh\nexit 0\n"}
    yield Case(
        "script whose interpreter is a script", "programs", "script", ("read second",), chain
    )
    yield Case(
        "script by its descriptor", "programs", "script_by_descriptor", read,
        {"script": b"#!/bin/sh\nexit 0\n"},
    )  # fmt: skip
    yield Case(
        "handler of binfmt_misc", "programs", "handled", ("read thing.odd",),
        {"folder": None, "thing.odd": b"\0odd"},
    )  # fmt: skip
    yield Case(
        "python -m", "programs", "run python3 -B -m job", ("read data", "read job.py"),
        {"job.py": b"open('data').read()\n", "data": b"x"},
    )  # fmt: skip
    yield Case(
        "shell pipeline of three", "programs", "script",
        ("read data", "read script", "truncate out", "write out"),
        {**FILES, "script": b"#!/bin/sh\ncat data | tr a b | cat > out\n"}, pipes=2,
    )  # fmt: skip
    target: Tree = {"target": b""}
    yield Case(
        "the dynamic loader",
        "programs",
        "by_loader",
        ("execute target", "map target", "read target"),
        target,
    )
    yield Case(
        "a memory file, executed by procfs", "programs", "in_memory_by_procfs", ("read target",),
        target,
    )  # fmt: skip


def _seldom_opened() -> Iterator[Case]:
    for name, does, edges in (
        ("open with O_RDONLY and O_TRUNC", "cut_for_reading", ("truncate data",)),
        ("open with O_RDONLY and O_CREAT", "made_for_reading", ("write new",)),
        ("open with O_PATH and O_TRUNC", "path_only", ()),
        ("open_by_handle_at", "by_handle", ("read data",)),
        ("open by procfs of a descriptor", "by_procfs", ("read data",)),
        ("open by the root of a process", "by_root_of_process", ("read data",)),
        ("chain of three symbolic links", "chained_links", ("read data",)),
        ("thread with a table and a folder of its own", "thread_apart", ("read inner/data",)),
    ):
        yield Case(name, "seldom", does, edges, {**FILES, **PLACES})
    for name, does, edge in (
        ("a call that a debugger injects", "injected", "read data"),
        ("store to a mapping by a child", "stored_by_child", "write data"),
    ):
        others = () if edge == "read data" else ("map data",)
        yield Case(name, "seldom", does, (edge, *others), FILES)


def _seldom_moved() -> Iterator[Case]:
    half = {"read data": (1, 100), "write out": (1, 100)}
    yield Case("half of the buffer is mapped", "seldom", "half_mapped", BOTH, FILES, half)
    yield Case("sendfile to a socket", "seldom", "sent_to_socket", ("read data",), FILES)
    twice = {"write out": (2, 6)}
    yield Case("O_APPEND by two", "seldom", "appended_by_two", ("write out",), FILES, twice)
    mapped = ("map data", "write data")
    for name, does, edges in (
        ("write of no byte", "none_written", ()),
        ("sendfile and copy_file_range of an empty file", "none_moved", ("read empty",)),
        ("a buffer that is not mapped", "unmapped_buffer", ()),
        ("readahead, fadvise, syncfs", "ahead", ()),
        ("times, mode, owner, attributes", "attributes", ()),
        ("fallocate that zeroes", "zeroed", ("write out",)),
        ("FS_IOC_UNRESVSP64", "punched_by_ioctl", ("write out",)),
        ("FS_IOC_ZERO_RANGE", "zeroed_by_ioctl", ("write out",)),
        ("pkey_mprotect, store", "protected_by_key", mapped),
        ("mapping that mremap moves, store", "moved_mapping", mapped),
        ("read from a pipe into a shared mapping", "read_into_mapping", mapped),
        ("MAP_POPULATE", "populated", ("map data",)),
    ):
        pipes = 1 if does == "read_into_mapping" else 0
        yield Case(name, "seldom", does, edges, FILES, pipes=pipes)
    yield Case(
        "mprotect over more areas than are looked at", "seldom", "protected_many",
        ("map out", *mapped), FILES,
        unseen=("mappings were made writable",),
    )  # fmt: skip
    for name, does, edges in (
        ("xfs: fallocate that collapses", "collapsed", ("write out",)),
        ("xfs: fallocate that inserts", "inserted", ("write out",)),
        ("xfs: FIDEDUPERANGE", "deduplicated", ()),
    ):
        yield Case(name, "seldom", does, edges, {**FILES, "out": bytes(8192)}, on="xfs")
    yield Case("xfs: FICLONE", "copies", "cloned", BOTH, FILES, on="xfs")


def _seldom_named() -> Iterator[Case]:
    for name, does, edges in (
        ("rename of one name of a file to another", "renamed_to_itself", ("link data -> second",)),
        ("renameat2 that leaves a whiteout", "whited_out", ("rename data -> moved",)),
        ("a symbolic link is renamed, deleted", "link_deleted",
         ("delete other", "rename alias -> other")),
        ("linkat with AT_EMPTY_PATH", "linked_by_empty_path", ("link data -> second",)),
    ):  # fmt: skip
        yield Case(name, "seldom", does, edges, FILES)


def _silent_rings() -> Iterator[Case]:
    once = {"read data": (1, 0), "write out": (1, 0)}
    yield Case("io_uring without completions", "uring", "silent", BOTH, FILES, once)
    yield Case("io_uring READ_MULTISHOT", "uring", "many_shots", (), FILES, pipes=1)
    yield Case(
        "io_uring without completions, fixed files", "uring", "silent_fixed_files", (), FILES,
        unseen=("io_uring requests moved bytes",),
    )  # fmt: skip
    yield Case(
        "io_uring RENAMEAT without a completion", "uring", "silent_names", (), FILES,
        unseen=("names changed through io_uring",),
    )  # fmt: skip


SECTIONS: Final[Mapping[str, tuple[Case, ...]]] = {
    "Interpreters and loaders": tuple(_interpreted()),
    "Opens and users that are seldom": tuple(_seldom_opened()),
    "Bytes on seldom ways": tuple(_seldom_moved()),
    "Names on seldom ways": tuple(_seldom_named()),
    "io_uring that says nothing": tuple(_silent_rings()),
}
