"""The command `whence`: words → options → a command → the exit status, without a traceback.

Holds no command itself and loads gRPC only when a question is asked.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from whence.errors import MissingFileError, NotFoundError, WhenceError, exit_code
from whence.options import parse
from whence.page import Page
from whence.text import clean

if TYPE_CHECKING:
    import argparse

    from whence.desk import Desk

INTERRUPTED = 130  # 128 + SIGINT, as a shell counts
BROKEN_PIPE = 141  # 128 + SIGPIPE
UNWRITTEN = 4
FAULT = 70  # EX_SOFTWARE of sysexits.h


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status (see docs/commands.md)."""
    if words is None:
        sys.excepthook = _say_fault
    _open_missing_streams()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        _never_fail_on_letters(stream)
    # gRPC's own complaints would stand between a user and our sentence.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        status = _run(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return BROKEN_PIPE
    except OSError as error:
        _close_output()
        _complain(f"the answer could not be written ({error.strerror}): check where it goes")
        return UNWRITTEN
    return status


def _run(words: Sequence[str]) -> int:
    name, options = parse(words)
    try:
        # Not before: --help and misuse need neither gRPC nor protobuf.
        from whence.client import Client  # noqa: PLC0415
        from whence.commands import RUNS  # noqa: PLC0415

        _as_wire_text(options)
        with Client(options.address) as client:
            return RUNS[name](options, _desk(), client)
    except WhenceError as error:
        _report(error, options)
        return exit_code(error)


def _as_wire_text(options: argparse.Namespace) -> None:
    """Make every text fit for protobuf, except the one that may be a file's exact name."""
    from whence.content import wire_text  # noqa: PLC0415  see _run

    for name, value in vars(options).items():
        if isinstance(value, str) and name != "what":
            setattr(options, name, wire_text(value))


def _desk() -> Desk:
    from whence.desk import Desk  # noqa: PLC0415  see _run

    page = Page(
        width=_width(sys.stdout, os.environ),
        now_unix_ns=time.time_ns(),
        colour=_wants_colour(sys.stdout, os.environ),
    )
    host = os.uname().nodename
    return Desk(sys.stdout, sys.stderr, sys.stdin, page, os.environ, host)


def _width(out: TextIO, environment: Mapping[str, str]) -> int | None:
    """Return the terminal's columns, or COLUMNS; None: a pipe or file gets whole names."""
    columns = environment.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    return shutil.get_terminal_size().columns if out.isatty() else None


def _wants_colour(out: TextIO, environment: Mapping[str, str]) -> bool:
    # https://no-color.org: present and not empty, whatever the value.
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return out.isatty() and not plain


def _report(error: WhenceError, options: argparse.Namespace) -> None:
    """Say what is wrong; for "not found" a program gets a document too."""
    if options.json and isinstance(error, NotFoundError | MissingFileError):
        import json  # noqa: PLC0415  only here

        sys.stdout.write(json.dumps({"found": False, "message": str(error)}, indent=2) + "\n")
    _complain(str(error))


def _complain(text: str) -> None:
    sys.stderr.write(f"whence: {clean(text)}\n")


def _open_missing_streams() -> None:
    """Stand in for streams that the caller closed (`<&-`, `>&-`): Python holds None for them."""
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()


def _never_fail_on_letters(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _close_output() -> None:
    # Else the interpreter flushes the rest at exit, fails again and says so.
    with open(os.devnull, "w", encoding="utf-8") as nothing:  # noqa: PTH123  a device, not a path
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _say_fault(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Tell of a fault of our own in one sentence; WHENCE_TRACEBACK shows where it is."""
    if os.environ.get("WHENCE_TRACEBACK"):
        sys.__excepthook__(kind, error, trace)
    _complain(
        f"a fault of whence itself ({kind.__name__}: {error}): "
        "please report it with what WHENCE_TRACEBACK=1 adds"
    )
    raise SystemExit(FAULT)


if __name__ == "__main__":
    sys.exit(main())
