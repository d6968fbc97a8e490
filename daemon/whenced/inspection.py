"""Answers of the hasher to what is a file or a container: one text tuple for each that is known.

Joins the readers of packages, caches, repositories and runtimes; every one of them reads as data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from whenced import door
from whenced.code_changes import ChangeReader
from whenced.container_state import container_state
from whenced.hash_messages import DONE, InspectReply, InspectRequest
from whenced.hub_names import hub_name
from whenced.python_packages import PythonPackages
from whenced.system_packages import SystemPackages

#: Kinds of question.
CODE: Final = "code"
PYTHON: Final = "python"
SYSTEM: Final = "system"
HUB: Final = "hub"
CONTAINER: Final = "container"


class Inspector:
    """Answers requests; what it read of databases is kept while they do not change."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._python = PythonPackages()
        self._system = SystemPackages()
        self._changes = ChangeReader()

    def answer(self, request: InspectRequest, beat: Callable[[], None]) -> Iterator[InspectReply]:
        """Yield a reply for each path that something is known of, then one that ends them.

        beat is called before each path: a sign of life.
        """
        try:
            root = door.open_root(request.pid)
        except OSError:
            yield InspectReply(request.ticket, DONE)
            return
        try:
            for place, path in enumerate(request.paths.split(b"\0")):
                beat()
                with suppress(OSError, ValueError):
                    texts = self._texts(request.kind, root, path)
                    if texts is not None:
                        yield InspectReply(request.ticket, place, texts)
        finally:
            os.close(root)
        yield InspectReply(request.ticket, DONE)

    def _texts(self, kind: str, root: int, path: bytes) -> tuple[str, ...] | None:
        found: tuple[object, ...] | None = None
        if kind == CODE:
            found = self._changes.change(root, path)
        elif kind == PYTHON:
            found = self._python.owner(root, path)
        elif kind == SYSTEM:
            found = self._system.owner(root, path)
        elif kind == HUB:
            found = hub_name(root, path)
        elif kind == CONTAINER:
            found = container_state(root, path.decode("ascii", "replace"))
        return None if found is None else tuple(_text(each) for each in found)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
