"""What `strace -f -y` saw, as edges: the second opinion on a capture. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# System call: positions of the descriptors that it reads and writes.
READS = {
    "read": 0,
    "pread64": 0,
    "readv": 0,
    "preadv": 0,
    "preadv2": 0,
    "sendfile": 1,
    "splice": 0,
    "copy_file_range": 0,
}
WRITES = {
    "write": 0,
    "pwrite64": 0,
    "writev": 0,
    "pwritev": 0,
    "pwritev2": 0,
    "sendfile": 0,
    "splice": 2,
    "copy_file_range": 2,
}
TRACED = sorted(READS.keys() | WRITES.keys())

LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>\w+)\((?P<words>.*)\) += (?P<result>-?\d+)")
UNFINISHED = re.compile(r"^(?P<pid>\d+) +(?P<begin>\w+\(.*?),? <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>,? ?(?P<end>.*)$")
DESCRIPTOR = re.compile(r"(?:^|[ (,\[=])\d+<(?P<path>[^>]*)>(?P<gone>\(deleted\))?")


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One process's kind of touch on one path."""

    operation: str
    path: str


def whole_lines(lines: Iterable[str]) -> Iterator[str]:
    """Join calls that another process's calls cut in two."""
    begun: dict[str, str] = {}
    for line in lines:
        if cut := UNFINISHED.match(line):
            begun[cut["pid"]] = cut["begin"]
        elif rest := RESUMED.match(line):
            glue = "" if rest["end"].startswith(")") else ", "
            yield f"{rest['pid']} {begun.pop(rest['pid'], '')}{glue}{rest['end']}"
        else:
            yield line


def is_regular(path: str) -> bool:
    """Whether a path that strace prints can be a regular file of a file system on disk."""
    elsewhere = ("/proc/", "/sys/", "/dev/")
    return path.startswith("/") and not path.startswith(elsewhere)


def edges_of(lines: Iterable[str]) -> set[Edge]:
    """Return the reads and writes of regular files that moved at least one byte."""
    found: set[Edge] = set()
    for line in whole_lines(lines):
        call = LINE.match(line)
        if call is None or int(call["result"]) <= 0:
            continue
        paths = [match["path"] for match in DESCRIPTOR.finditer(call["words"])]
        found |= set(touches(call["call"], paths))
    return found


def touches(call: str, paths: list[str]) -> Iterator[Edge]:
    """Yield the edges of one successful call, given its descriptors' paths in order."""
    for operation, positions in (("read", READS), ("write", WRITES)):
        if call not in positions:
            continue
        # Descriptors count among themselves: sendfile has 0 and 1, splice and
        # copy_file_range have 0 and 2 with an offset between.
        position = min(positions[call], 1)
        if position < len(paths) and is_regular(paths[position]):
            yield Edge(operation, paths[position])
