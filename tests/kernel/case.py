"""One case of the conformance suite: a tiny program, its edges, and what stands there before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# What stands in the working directory: name -> content; None a folder, a text a link to it.
Tree = Mapping[str, bytes | str | None]
BLOCK: Final = bytes(4096)
FILES: Final[Tree] = {"data": BLOCK, "out": BLOCK, "empty": b""}
DATA: Final[Tree] = {"data": BLOCK}
OUT: Final[Tree] = {"out": b"before"}
FOLDERS: Final[Tree] = {
    **dict.fromkeys(("from", "to", "real", "hollow")),
    **dict.fromkeys(("data", "other", "from/data", "real/data"), b"content of it"),
    "alias": "real",
}
PLACES: Final[Tree] = {
    **dict.fromkeys(("inner", "alias", "layers")),
    "inner/data": b"content",
}
BOTH: Final = ("read data", "write out")
Moved = Mapping[str, tuple[int, int]]  # edge -> (calls, bytes)
ONCE: Final[Moved] = {"read data": (1, 100), "write out": (1, 100)}


@dataclass(frozen=True, slots=True)
class Case:
    """One program, one expected set of edges.

    does: behaviour of tests/workloads/PROGRAM.c, further words after blanks. moved: exact counts
    of some edges. by_printed: the edges belong to the one process whose id the program prints.
    one_file: edges that must be on one identity. pipes: how many had a writer and a reader.
    on: file system that the working directory is made on, empty for the machine's own. unseen:
    what the run is told to lack.
    """

    name: str
    program: str
    does: str
    edges: tuple[str, ...]
    given: Tree = field(default_factory=dict)
    moved: Moved = field(default_factory=dict)
    by_printed: bool = False
    one_file: tuple[str, ...] = ()
    pipes: int = 0
    on: str = ""
    unseen: tuple[str, ...] = ()
