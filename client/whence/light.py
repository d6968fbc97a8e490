"""What a job says of itself: tags and numbers, to the daemon of its host, in one datagram.

Loads no gRPC, never waits and never raises: where no daemon listens, nothing happens. The kernel
tells the daemon which process spoke, so no name or token is needed, and none can be borrowed.
The format of a datagram is described in daemon/whenced/job_words.py.
"""

from __future__ import annotations

import os

FOLDER = "/run/whence-jobs"
VERSION = "1"


def tag(note: str | None = None, **labels: object) -> bool:
    """Tag this process and its run: ``tag(project="tickets", note="second try", pii=True)``.

    ``True`` gives a label without a value, ``None`` takes the key away; ``test_set`` means
    "test-set". Returns whether a daemon took it; never raises.
    """
    try:
        given = labels if note is None else {"note": note, **labels}
        gone = [_key(name) for name, value in given.items() if value is None]
        kept = [(_key(name), _text(value)) for name, value in given.items() if value is not None]
        taken = [send("tag", kept)] if kept else []
        if gone:
            taken.append(send("tag", [(key, "") for key in gone], flags="remove"))
        return all(taken) and bool(taken)
    except Exception:  # noqa: BLE001 -- a job must never fail for what it says of itself
        return False


def metric(name: str, value: float, step: int | None = None) -> bool:
    """Say what this process measured: ``metric("acc", 0.93, step=400)``.

    Returns whether a daemon took it; never raises, whatever the value is.
    """
    try:
        at = "" if step is None else str(int(step))
        return bool(send("metric", [(str(name), repr(float(value)))], step=at))
    except Exception:  # noqa: BLE001 -- as above: float() of a tensor may raise anything
        return False


def message(
    verb: str,
    pairs: list[tuple[str, str]],
    target: str = "self",
    flags: str = "",
    step: str = "",
) -> bytes:
    """Return the datagram of a statement."""
    fields = [VERSION, verb, target, flags, step]
    for name, value in pairs:
        fields += (name.replace("\0", ""), value.replace("\0", ""))
    return "\0".join(fields).encode("utf-8", "backslashreplace")


def send(
    verb: str,
    pairs: list[tuple[str, str]],
    *,
    flags: str = "",
    step: str = "",
) -> bool:
    """Send a statement to every daemon of this host; whether one took it."""
    try:
        names = os.listdir(FOLDER)  # noqa: PTH208 -- pathlib costs more than the datagram
    except OSError:
        return False
    # Not above: a job that speaks once need not pay for it while it starts. And not `socket`: what
    # that loads besides (selectors, enum) costs milliseconds, more than all else here.
    import _socket  # noqa: PLC0415

    text = message(verb, pairs, flags=flags, step=step)
    taken = False
    kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC
    speaker = _socket.socket(_socket.AF_UNIX, kind)
    try:
        for name in names:
            try:
                speaker.sendto(text, _socket.MSG_DONTWAIT, f"{FOLDER}/{name}")
                taken = True
            except OSError:
                continue
    finally:
        speaker.close()
    return taken


def _key(name: str) -> str:
    return name.replace("_", "-") if name == "test_set" else name


def _text(value: object) -> str:
    return "" if value is True else str(value)
