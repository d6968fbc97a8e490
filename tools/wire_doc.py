"""Write docs/wire.md from the comments of the .proto files; ``--check`` only compares.

The .proto files are the truth; this page is for readers who want one table.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "wire.md"
PROTOS: Final = (
    "ingest.proto",
    "query.proto",
    "admin.proto",
    "request.proto",
    "tags.proto",
    "ancestry.proto",
)
_BLOCK: Final = re.compile(r"(message|enum|service) (\w+) \{")
_FIELD: Final = re.compile(r"(.+?)\s(\w+) = (\d+);")
_VALUE: Final = re.compile(r"(\w+) = (\d+);")
_RPC: Final = re.compile(r"rpc (\w+)\((.+?)\) returns \((.+?)\)")


def page(name: str, text: str) -> list[str]:
    """Return the lines for one .proto file."""
    lines: list[str] = []
    comment: list[str] = []
    head_done = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("//"):
            comment.append(line.removeprefix("//").removeprefix(" "))
            continue
        if not head_done and line.startswith("syntax"):
            lines += [f"## {name}", "", *comment, ""]
            head_done = True
        else:
            lines += _described(line, " ".join(comment))
        comment = []
    return lines


def _described(line: str, comment: str) -> list[str]:
    """Return the lines for one declaration; none for what is no declaration."""
    if block := _BLOCK.match(line):
        return ["", f"### {block[2]}", "", comment, "", "| | number | |", "|---|---|---|"]
    if rpc := _RPC.match(line):
        return [f"| `{rpc[1]}({rpc[2]}) → {rpc[3]}` | | {comment} |"]
    if value := _VALUE.fullmatch(line):
        return [f"| `{value[1]}` | {value[2]} | {comment} |"]
    if field := _FIELD.fullmatch(line):
        return [f"| `{field[2]}` {field[1]} | {field[3]} | {comment} |"]
    return []


def whole() -> str:
    """Return docs/wire.md as it should be."""
    lines = ["# The wire", "", "Written by `tools/wire_doc.py` from `proto/whence_proto/v1`.", ""]
    for name in PROTOS:
        lines += page(name, (ROOT / "proto" / "whence_proto" / "v1" / name).read_text())
        lines.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def main() -> int:
    """Write the page, or compare with ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    if not parser.parse_args().check:
        PAGE.write_text(whole())
        return 0
    if PAGE.exists() and PAGE.read_text() == whole():
        return 0
    print("docs/wire.md is stale: run tools/wire_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
