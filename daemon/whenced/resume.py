"""The state of the loop, kept and found again; the kernel's answers, noted and given again.

What is kept is the loop's own knowledge: descriptors, sockets and whatever asks the host belong to
a process. A version whose classes hold something else begins anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import pickle
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from whenced.host_names import HostNames
from whenced.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from whenced.proof import Told
    from whenced.record import Rows

# Goes up when what is kept means something else although it has the same fields.
STATE_VERSION: Final = 1
# Whose classes are in a kept state.
_MODULES: Final = (
    "balance", "batching", "environment", "event", "file_state", "hash_jobs", "hash_messages",
    "inquiries", "journal", "load_queue", "losses", "observer", "path_index", "path_scope",
    "processes", "proof", "record", "renames", "ring", "rings", "rows", "sequences", "text",
    "version_rows", "versions",
)  # fmt: skip
_here: dict[str, object] = {}
Answer = TypeVar("Answer")


def layout() -> str:
    """Name of what kept states hold, in this version."""
    told = hashlib.sha256(str(STATE_VERSION).encode())
    for name in _MODULES:
        module = importlib.import_module(f"whenced.{name}")
        for key, kind in sorted(vars(module).items()):
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                told.update(f"{name}.{key}:{_fields(kind)}\n".encode())
    return told.hexdigest()[:16]


def _fields(kind: type) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [f"{each.name}: {each.type}" for each in dataclasses.fields(kind)]
    names = getattr(kind, "_fields", None)
    if names is not None:
        return list(names)
    code = getattr(vars(kind).get("__init__"), "__code__", None)
    return [] if code is None else sorted(code.co_names)


def keep(file: IO[bytes], state: dict[str, Any]) -> None:
    """Write a state. Raises OSError."""
    pickler = pickle.Pickler(file, protocol=5)
    pickler.dispatch_table = {
        HostNames: lambda _: (_outside, ("names",)),
        Resolver: lambda _: (_outside, ("resolver",)),
    }
    pickler.dump(state)


def kept(path: Path, names: HostNames, resolver: Resolver) -> dict[str, Any]:
    """Read a state, joined to this process's own; empty for the beginning, which has none."""
    _here.update(names=names, resolver=resolver)
    try:
        with path.open("rb") as file:
            unpickler = pickle.Unpickler(file)  # noqa: S301 -- root alone can write it
            state: dict[str, Any] = unpickler.load()
            return state
    except FileNotFoundError:
        return {}
    finally:
        _here.clear()


def _outside(name: str) -> object:
    return _here[name]


class Noted:
    """The kernel side, with everything that it answered."""

    def __init__(self, kernel: Told) -> None:
        self._kernel = kernel
        self.answers: list[tuple[str, Any]] = []

    def take(self) -> list[tuple[str, Any]]:
        """Return the answers since the last call."""
        answers, self.answers = self.answers, []
        return answers

    def alive(self) -> Rows:
        """Who lives now."""
        return self._note("alive", self._kernel.alive)

    def take_losers(self) -> tuple[Rows, Rows]:
        """Who lost records since the last call."""
        return self._note("losers", self._kernel.take_losers)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Class -> (attempted, stored, lost)."""
        return self._note("counts", self._kernel.counts)

    def recursion_misses(self) -> dict[str, int]:
        """Program -> times that it was skipped."""
        return self._note("misses", self._kernel.recursion_misses)

    def _note(self, name: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        self.answers.append((name, answer))
        return answer


class Again:
    """Gives noted answers again, in their order; asks where there is none."""

    def __init__(self, kernel: Told) -> None:
        self._kernel = kernel
        self._answers: dict[str, list[Any]] = {}

    def put(self, answers: list[tuple[str, Any]]) -> None:
        """Take the answers of one step; what the step before did not ask for is dropped."""
        self._answers = {}
        for name, answer in answers:
            self._answers.setdefault(name, []).append(answer)

    def alive(self) -> Rows:
        """Who lived then."""
        return self._next("alive", self._kernel.alive)

    def take_losers(self) -> tuple[Rows, Rows]:
        """Who had lost records then."""
        return self._next("losers", self._kernel.take_losers)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Class -> (attempted, stored, lost) then."""
        return self._next("counts", self._kernel.counts)

    def recursion_misses(self) -> dict[str, int]:
        """Program -> times that it had been skipped then."""
        return self._next("misses", self._kernel.recursion_misses)

    def _next(self, name: str, ask: Callable[[], Answer]) -> Answer:
        waiting: list[Answer] = self._answers.get(name) or [ask()]
        return waiting.pop(0)
