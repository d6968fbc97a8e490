"""What a call shows of who makes it: a ticket of this host's daemon, a token. Prints nothing.

The ticket is asked for anew for each call: it says which process asks, so that nobody can lend it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from whence.errors import MisuseError

SOCKETS = Path("/run/whence-vouch")
DEFAULT_DATA_DIR = "/var/lib/whence"
TIMEOUT_S = 5.0
TICKET, AUTHORIZATION = "whence-ticket-bin", "authorization"
LONGEST_REPLY = 64 << 10


def metadata(environment: Mapping[str, str] | None = None) -> tuple[tuple[str, str | bytes], ...]:
    """Return what to show: whatever of ticket and token there is.

    Raises MisuseError for a token file that others may read.
    """
    environment = os.environ if environment is None else environment
    shown: list[tuple[str, str | bytes]] = []
    if (ticket := ask_ticket(vouch_socket(environment))) is not None:
        shown.append((TICKET, ticket))
    if token := token_of(environment):
        shown.append((AUTHORIZATION, f"Bearer {token}"))
    return tuple(shown)


def vouch_socket(environment: Mapping[str, str]) -> Path:
    """Return the socket on which the daemon of a data directory vouches for callers."""
    data_dir = environment.get("WHENCE_DATA_DIR") or DEFAULT_DATA_DIR
    return SOCKETS / f"{hashlib.sha256(data_dir.encode()).hexdigest()[:16]}.sock"


def ask_ticket(path: Path) -> bytes | None:
    """Ask the daemon who this process is; None where none answers: then the collector says so."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.settimeout(TIMEOUT_S)
            daemon.connect(str(path))
            daemon.sendall(b'{"do":"vouch"}\n')
            with daemon.makefile("rb") as lines:
                reply = json.loads(lines.readline(LONGEST_REPLY))
        return base64.b64decode(reply["ticket"], validate=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def token_of(environment: Mapping[str, str]) -> str:
    """Return the token of the environment, else of the user's file, else ""."""
    if token := environment.get("WHENCE_TOKEN", "").strip():
        return token
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(  # noqa: PTH118 -- may be empty
        environment.get("HOME") or "/nonexistent", ".config"
    )
    path = Path(home) / "whence" / "token"
    try:
        if path.stat().st_mode & 0o077:
            raise MisuseError(f"{path} can be read by others: `chmod 600 {path}`")
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
