"""The conformance suite as data: what a tiny program does, and every edge that must be seen.

A case is passed by exactly these edges: a missing and an extra one both fail. The table of
docs/conformance.md is written from here by ``python -m tests.kernel.cases``; a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.kernel import seldom_cases
from tests.kernel.case import (
    BOTH,
    DATA,
    FILES,
    FOLDERS,
    ONCE,
    OUT,
    PLACES,
    Case,
    Tree,
)  # fmt: skip

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
_MARK: Final = "<!-- written by python -m tests.kernel.cases: -->\n"


def _reads() -> Iterator[Case]:
    calls = {
        "read": ("plain", 4096), "pread": ("positioned", 100), "readv": ("vectored", 30),
        "preadv": ("vectored_positioned", 30), "preadv2": ("vectored_flagged", 30),
        "read with O_DIRECT": ("direct", 4096), "read at the end of the file": ("at_end", 0),
    }  # fmt: skip
    for name, (does, moved_bytes) in calls.items():
        moved = {"read data": (1, moved_bytes)}
        yield Case(name, "reads", does, ("read data",), DATA, moved)
    moved = {"read data": (100_000, 100_000)}
    yield Case("100,000 reads are one edge", "reads", "many 100000", ("read data",), DATA, moved)


def _writes() -> Iterator[Case]:
    calls = {
        "write": ("plain", 7), "pwrite": ("positioned", 7), "writev": ("vectored", 7),
        "pwritev": ("vectored_positioned", 7), "pwritev2": ("vectored_flagged", 7),
        "write with O_DIRECT": ("direct", 4096), "fallocate": ("space", 0),
        "fallocate that punches a hole": ("hole", 0),
    }  # fmt: skip
    for name, (does, moved_bytes) in calls.items():
        yield Case(name, "writes", does, ("write out",), OUT, {"write out": (1, moved_bytes)})
    yield Case("open for writing, write nothing", "writes", "nothing", (), OUT)
    cuts = {
        "truncate by path": "by_path", "ftruncate": "by_descriptor", "open with O_TRUNC": "by_open",
        "the old open with O_TRUNC": "by_old_open", "openat2 with O_TRUNC": "by_openat2",
        "creat of a file that stands": "by_creat",
    }  # fmt: skip
    for name, does in cuts.items():
        yield Case(name, "lengths", does, ("truncate data",), DATA)
    yield Case(
        "truncate through a symbolic link", "names", "cut_through_link", ("truncate data",), DATA
    )


def _maps() -> Iterator[Case]:
    kinds = {
        "private mapping that is read": ("private_read", ("map data",)),
        "shared mapping that is read": ("shared_read", ("map data",)),
        "private mapping that is written (a copy)": ("private_write", ("map data",)),
        "shared mapping that is written": ("shared_write", ("map data", "write data")),
        "shared mapping that could be written and is not": (
            "shared_untouched", ("map data", "may-write data"),
        ),
        "read-only mapping, mprotect, store": ("shared_protected", ("map data", "write data")),
        "executable mapping": ("executable", ("execute data",)),
        "anonymous mapping that is given a descriptor": ("anonymous", ()),
    }  # fmt: skip
    for name, (does, edges) in kinds.items():
        yield Case(name, "maps", does, edges, DATA)


def _copies() -> Iterator[Case]:
    for name, does in (("sendfile", "sent"), ("copy_file_range", "copied")):
        yield Case(name, "copies", does, BOTH, FILES, ONCE)
    yield Case("splice through a pipe", "copies", "spliced", BOTH, FILES, ONCE, pipes=1)
    yield Case("splice, tee, splice", "copies", "teed", BOTH, FILES, ONCE, pipes=2)
    yield Case("vmsplice and splice", "copies", "gifted", ("write out",), FILES, pipes=1)
    yield Case("reflink (FICLONE)", "copies", "cloned", BOTH, FILES, on="btrfs")
    yield Case("a reflink that is refused", "copies", "refused_clone", (), FILES)


def _rings() -> Iterator[Case]:
    for name, does in {
        "io_uring READ and WRITE": "plain",
        "io_uring with a polling thread (SQPOLL)": "polled",
        "io_uring READV and WRITEV": "vectored",
        "io_uring by a worker thread": "handed_over",
        "io_uring fixed files": "fixed_files",
        "io_uring fixed buffers": "fixed_buffers",
        "io_uring fixed vectors": "fixed_vectors",
        "io_uring linked requests": "chained",
    }.items():
        yield Case(name, "uring", does, BOTH, FILES, ONCE)
    yield Case("io_uring SPLICE", "uring", "spliced", BOTH, FILES, ONCE, pipes=1)
    others = {
        "io_uring OPENAT that creates": ("opened", ("write new",)),
        "io_uring OPENAT alone": ("opened_only", ()),
        "io_uring OPENAT into the ring's table": ("opened_in_ring", ("write out",)),
        "io_uring RENAMEAT": ("renamed", ("rename data -> moved",)),
        "io_uring LINKAT": ("linked", ("link data -> second",)),
        "io_uring UNLINKAT": ("deleted", ("delete data",)),
        "io_uring UNLINKAT of a folder": ("folder_deleted", ()),
        "io_uring FTRUNCATE": ("cut", ("truncate out",)),
        "io_uring requests that fail": ("failing", ()),
    }
    for name, (does, edges) in others.items():
        yield Case(name, "uring", does, edges, FILES)
    yield Case("libaio PREAD and PWRITE", "aio", "plain", BOTH, FILES, ONCE)
    yield Case("libaio PREADV and PWRITEV", "aio", "vectored", BOTH, FILES)
    yield Case("libaio FSYNC", "aio", "synced", (), FILES)
    yield Case("libaio that is refused", "aio", "refused", (), FILES)


def _descriptors() -> Iterator[Case]:
    users = {
        "descriptor inherited, read by the child only": ("inherited", "read data"),
        "descriptor passed over a socket (SCM_RIGHTS)": ("passed", "read data"),
        "descriptor taken by pidfd_getfd": ("taken", "read data"),
        "descriptor of a shared table, opened by another": ("shared_table", "read data"),
        "descriptor duplicated, the first closed": ("duplicated", "write out"),
    }
    for name, (does, edge) in users.items():
        yield Case(name, "descriptors", does, (edge,), DATA, by_printed=True)


def _names() -> Iterator[Case]:
    calls = {
        "rename": ("renamed", "rename data -> moved"),
        "renameat": ("renamed_at", "rename from/data -> to/moved"),
        "renameat2": ("renamed_at_flags", "rename from/data -> to/moved"),
        "renameat2 that exchanges": ("exchanged", "exchange data -> other"),
        "link": ("linked", "link data -> second"),
        "linkat": ("linked_at", "link from/data -> to/second"),
        "rename through a linked folder": ("through_links", "rename real/data -> real/moved"),
        "unlink": ("deleted", "delete data"),
        "unlinkat": ("deleted_at", "delete from/data"),
    }
    for name, (does, edge) in calls.items():
        yield Case(name, "names", does, (edge,), FOLDERS)
    yield Case("rmdir, unlinkat of a folder", "names", "folders_deleted", (), FOLDERS)
    yield Case(
        "write a temporary file, rename it over", "names", "replaced",
        ("rename data.tmp -> data", "write data.tmp"), FOLDERS,
    )  # fmt: skip
    yield Case(
        "write, rename, write on", "names", "written_after",
        ("rename first -> last", "write first"), {}, {"write first": (2, 2)},
    )  # fmt: skip
    yield Case(
        "unlink while open, write and read on", "names", "used_after_deletion",
        ("delete brief", "read brief", "write brief"), {}, one_file=("read brief", "write brief"),
    )  # fmt: skip
    yield Case(
        "rename of a folder with 200 files", "names", "checkpoint",
        tuple(sorted([f"write draft/part{number}" for number in range(200)]
                     + ["read final/part7", "rename draft/ -> final/"])),
    )  # fmt: skip
    for how in ("procfs", "descriptor"):
        late = ("rename # -> out", "write #")
        yield Case(f"O_TMPFILE, linkat by {how}", "nameless", f"linked_by_{how}", late)
    yield Case("memfd that is written and read", "nameless", "in_memory", ())
    odd = ("delete caf\\xe9 \\xff", "rename two\nlines -> caf\\xe9 \\xff", "write two\nlines")
    yield Case("names with a line end, and not UTF-8", "paths", "odd", odd)
    for name, depth, length in (("200 components", 200, 3), ("a path of 6,100 bytes", 100, 60)):
        folder = "/".join(["d" * length] * depth)
        edges = (f"rename {folder}/data -> {folder}/moved", f"write {folder}/data")
        yield Case(name, "paths", f"deep {depth} {length}", edges)


def _places() -> Iterator[Case]:
    read_moved = ("read inner/data", "rename inner/data -> inner/moved")
    alias_moved = ("read alias/data", "rename alias/data -> alias/moved")
    places = {
        "relative to the working directory": (
            "working_directory", ("read inner/data", "rename inner/data -> moved"),
        ),
        "relative to a descriptor": ("by_descriptor", read_moved),
        "bind mount in a private namespace": ("bind_mount", alias_moved),
        "chroot": ("changed_root", read_moved),
        "tmpfs in a private namespace": ("memory_mount", (*alias_moved, "write alias/data")),
        "user namespace": ("own_users", read_moved),
        "overlay: write to a lower file": ("layers_written", ("write alias/data",)),
        "overlay: rename of a lower file": ("layers_renamed", alias_moved),
        "overlay: deletion of a lower file": ("layers_deleted", ("delete alias/data",)),
        "overlay: link to a lower file": ("layers_linked", ("link alias/data -> alias/second",)),
    }  # fmt: skip
    for name, (does, edges) in places.items():
        yield Case(name, "places", does, edges, PLACES)
    yield Case("setns midway", "places", "joined_mounts", alias_moved, PLACES, pipes=1)
    yield Case(
        "overlay: read, copy-up, rename, delete: one file throughout", "places", "layers_lived",
        ("delete alias/moved", "read alias/data", "rename alias/data -> alias/moved",
         "write alias/data"),
        PLACES, one_file=("read alias/data", "write alias/data"),
    )  # fmt: skip


def _processes() -> Iterator[Case]:
    programs: Tree = {"script": b"#!/bin/sh\nexit 0\n", "target": b""}
    yield Case("script with #!", "programs", "script", ("read script",), programs)
    program = ("execute target",)
    for name, does in {
        "exec by a second thread": "thread",
        "vfork and exec": "after_vfork",
        "posix_spawn": "spawned",
    }.items():
        yield Case(name, "programs", does, program, programs)
    yield Case(
        "a memory file that is executed", "programs", "in_memory", ("read target",), programs
    )
    yield Case("exec that fails", "programs", "failing", (), {"plain": b"x", "garbage": b"\0\1"})
    yield Case("double fork, setsid, parents gone", "lives", "detached", ("write out",))
    yield Case(
        "a process number that is used again", "lives", "number_reused", ("write one", "write two")
    )
    parts = tuple(sorted(f"{op} part{i}" for i in range(100) for op in ("read", "write")))
    yield Case("32 loader workers, 100 files, 3 epochs", "lives", "loaders 32 100 3", parts)
    yield Case("32-bit: open, read, write, sendfile64", "compat", "moved_content", BOTH, FILES)
    compat = (
        "delete moved", "exchange moved -> out", "rename data -> moved", "truncate out",
        "write data",
    )  # fmt: skip
    yield Case("32-bit: rename, unlink, truncate, creat", "compat", "changed_names", compat, FILES)
    yield Case("32-bit: the old mmap", "compat", "mapped", ("map data", "write data"), FILES)
    yield Case("pipe between two processes", "streams", "anonymous", (), pipes=1)
    yield Case("named FIFO between two processes", "streams", "named", (), pipes=1)


def _nothing() -> Iterator[Case]:
    for name, does in {
        "Landlock refuses": "walled_in",
        "a seccomp filter refuses": "filtered",
        "calls that are refused": "refused",
        "stat, access, readdir, O_PATH, locks, chmod": "looked_at",
        "open and close": "opened",
        "open and close of an empty file": "empty_opened",
    }.items():
        yield Case(name, "nothing", does, (), {"data": b"content", "empty": b""})


def _unseen() -> Iterator[Case]:
    yield Case(
        "GPUDirect Storage: an inferred read", "devices", "gpudirect", ("read data",), DATA,
        unseen=("GPUDirect Storage",),
    )  # fmt: skip
    yield Case("a block device that is read", "devices", "block", (), unseen=("block device",))
    yield Case("an ordinary device", "devices", "ordinary", (), DATA)


SECTIONS: Final[Mapping[str, tuple[Case, ...]]] = {
    "Reads": tuple(_reads()),
    "Writes and lengths": tuple(_writes()),
    "Mappings": tuple(_maps()),
    "Content that the kernel moves": tuple(_copies()),
    "io_uring and libaio": tuple(_rings()),
    "Descriptors: the user gets the edge": tuple(_descriptors()),
    "Names": tuple(_names()),
    "Places": tuple(_places()),
    "Processes": tuple(_processes()),
    **seldom_cases.SECTIONS,
    "Nothing flows": tuple(_nothing()),
    "What cannot be followed": tuple(_unseen()),
}
CASES: Final = tuple(case for cases in SECTIONS.values() for case in cases)


def _edge_words(case: Case) -> str:
    if not case.edges:
        return "none"
    shown = [f"`{_short(edge)}`" for edge in case.edges[:4]]
    more = len(case.edges) - len(shown)
    return ", ".join([*shown, *([f"and {more} more of the kind"] if more else [])])


def _short(edge: str) -> str:
    """Long paths are cut in the page, odd bytes are spelled."""
    words = edge.replace("\n", "\\n").replace("|", "\\|")
    return words if len(words) <= 60 else f"{words[:28]}…{words[-28:]}"


def _remarks(case: Case) -> str:
    remarks = [f"{ops:,} calls, {size:,} bytes" for ops, size in dict.fromkeys(case.moved.values())]
    if case.by_printed:
        remarks.append("of the process that used it")
    if case.one_file:
        remarks.append("one identity")
    if case.pipes:
        remarks.append(f"{case.pipes} pipe{'s' if case.pipes > 1 else ''}, both ends")
    if case.on:
        remarks.append(f"on {case.on}")
    remarks += [f"the run is incomplete: {words}" for words in case.unseen]
    return "; ".join(remarks)


def table() -> str:
    """Return the page's part that follows from the cases."""
    lines = [f"{len(CASES)} cases.\n"]
    for title, cases in SECTIONS.items():
        lines += [f"\n### {title}\n", "| case | program | edges | and |", "|---|---|---|---|"]
        for case in cases:
            does = f"`{case.program} {case.does}`"
            lines.append(f"| {case.name} | {does} | {_edge_words(case)} | {_remarks(case)} |")
    return "\n".join(lines) + "\n"


def page(current: str) -> str:
    """Return docs/conformance.md with its table as it has to be."""
    return current.partition(_MARK)[0] + _MARK + table()


if __name__ == "__main__":
    sys.stdout.write(f"{PAGE}: {len(CASES)} cases\n")
    PAGE.write_text(page(PAGE.read_text()))
