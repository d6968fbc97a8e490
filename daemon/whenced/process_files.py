"""What procfs says of a process now: program, user, terminal, parent, its log-in's far end.

Reads only, follows no link that a user owns, and takes every answer for one that may be gone.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from itertools import pairwise
from pathlib import Path
from typing import Final

from whence_proto.v1 import request_pb2
from whenced import proc_stat
from whenced.redact import redact_arguments

PROC: Final = Path("/proc")
WORDS, WORD_LETTERS = 4, 60
MOST_BYTES: Final = 128 << 10
# Variables by which agents make themselves known to what they start.
MARKS: Final = frozenset(
    (
        "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED",
        "CURSOR_AGENT", "GEMINI_CLI", "OPENCODE", "AUGMENT_AGENT", "CLINE_ACTIVE", "AI_AGENT",
        "REPLIT_AGENT", "GOOSE_TERMINAL",
    )
)  # fmt: skip
ESTABLISHED: Final = "01"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def read(pid: int) -> request_pb2.SeenProcess | None:
    """Return a process as procfs has it, None when it is gone. Marks and names are not in it."""
    try:
        fields = proc_stat.fields(pid)
        words = (PROC / str(pid) / "cmdline").read_bytes()[:MOST_BYTES].split(b"\0")
        uid = (PROC / str(pid)).stat().st_uid
    except (OSError, ValueError, IndexError):
        return None
    arguments = [word.decode("utf-8", "replace") for word in words[:-1]]
    return request_pb2.SeenProcess(
        pid=pid,
        exe=_exe(pid),
        argv=[word[:WORD_LETTERS] for word in redact_arguments(arguments)[:WORDS]],
        command_name=_name(pid),
        uid=uid,
        terminal=max(0, int(fields[4])),
        source="procfs",
    )


def parent_of(pid: int) -> int:
    """Return the parent that a process has now, 0 for none or when it is gone."""
    try:
        return int(proc_stat.fields(pid)[1])
    except (OSError, ValueError, IndexError):
        return 0


def _exe(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "exe").readlink())
    except OSError:
        return ""


def _name(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def is_systems(pid: int, path: str) -> bool:
    """Whether a program belongs to root and nobody else may write it.

    The very file that runs where the process lives; else (pid 0) what stands at its path.
    """
    for name in (str(PROC / str(pid) / "exe") if pid else "", path):
        try:
            found = os.stat(name)  # noqa: PTH116 -- of the running file, through procfs's link
        except OSError:
            continue
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return found.st_uid == 0 and not writable
    return False


def marks(pid: int) -> list[str] | None:
    """Return the marks of agents in the environment that a program began with; None: unreadable."""
    try:
        with (PROC / str(pid) / "environ").open("rb") as file:
            content = file.read(MOST_BYTES)
    except OSError:
        return None
    names = {entry.partition(b"=")[0].decode("ascii", "replace") for entry in content.split(b"\0")}
    return sorted(names & MARKS)


def peer_address(pid: int) -> str:
    """Return the far end of an established TCP connection of a process, "" without one."""
    try:
        links = [str(entry.readlink()) for entry in (PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return ""
    inodes = {match[1] for link in links if (match := _SOCKET.fullmatch(link))}
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / str(pid) / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == ESTABLISHED and fields[9] in inodes:
                return address_text(fields[2].partition(":")[0])
    return ""


def address_text(hexadecimal: str) -> str:
    """Return an address of /proc/net/tcp{,6}: 32-bit words, each in the byte order of the host."""
    raw = bytes.fromhex(hexadecimal)
    swapped = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ipaddress.ip_address(swapped)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def own_addresses() -> list[str]:
    """Return the addresses of this host's interfaces (those of this network namespace)."""
    found: set[str] = set()
    try:
        lines = (PROC / "net/fib_trie").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for before, line in pairwise(lines):
        if "/32 host LOCAL" in line:
            found.add(before.rpartition(" ")[2])
    try:
        for line in (PROC / "net/if_inet6").read_text(encoding="ascii").splitlines():
            found.add(str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))))
    except OSError:
        pass
    return sorted(found)[:32]
