"""Tags of a process of this host, told to its daemon: the kernel says who asks.

Unlike whence.tag() this waits for the daemon's word, for a person sees it.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from whence.errors import RefusedError, UnreachableError
from whence.light import FOLDER, message

PATIENCE_S = 4.0  # the daemon waits for the record of a process for two


def tag_process(
    pairs: list[tuple[str, str]], target: str, flags: str = "", folder: str = FOLDER
) -> str:
    """Tag "parent" (the shell that called) or a process id; return the words of its command.

    Raises UnreachableError when no daemon answers, RefusedError when none allows it.
    """
    refusals = []
    for path in sorted(Path(folder).glob("*.sock")):
        answer = _tell(str(path), message("tag", pairs, target, _joined(flags, "answer")))
        if answer is None:
            continue
        if answer.get("ok"):
            return str(answer.get("process", "?"))
        refusals.append(str(answer.get("error", "refused")))
    if refusals:
        # A second daemon may watch other processes only: what the one that knows it says counts.
        refusals.sort(key=lambda why: why.startswith("no such process"))
        raise RefusedError(f"the process was not tagged: {refusals[0]}")
    raise UnreachableError(
        "no daemon of this host answers: `whence doctor` tells why, "
        "or name a run (`whence log` lists them)"
    )


def _joined(*flags: str) -> str:
    return ",".join(filter(None, flags))


def _tell(path: str, text: bytes) -> dict[str, object] | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        # unix(7): an empty name binds an abstract one of the kernel's choice, to be answered at.
        speaker.bind("")
        speaker.settimeout(PATIENCE_S)
        try:
            speaker.sendto(text, path)
            answer: dict[str, object] = json.loads(speaker.recv(64 << 10))
        except (OSError, ValueError):
            return None
    return answer


def whoami() -> str:
    """Return "user@host" as this process sees itself; a claim, not a proof."""
    import pwd  # noqa: PLC0415  only asked when something is said over the network

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    return f"{user}@{os.uname().nodename}"
