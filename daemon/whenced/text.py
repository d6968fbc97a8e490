"""Texts of the cold rings: paths, arguments, strings. Pure.

A record names its texts by id; a text may arrive one drain before the
record that names it, never after.
"""

from __future__ import annotations

import posixpath
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from whenced.record import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

# Drains that an unclaimed text is kept for: its record was lost, or comes with the next drain.
_KEPT_DRAINS: Final = 3
# A build touches the same libraries and headers again and again.
_KNOWN_PATHS: Final = 1 << 13
_PATH: Final = int(Part.PATH)  # hashed by far faster than a member of an enumeration
_DIRECTORY: Final = int(Part.DIRECTORY)
_ENVIRONMENT: Final = int(Part.ENVIRONMENT)
# Twice WHENCE_DIRECTORY_NS (bpf/record.h): by then the kernel side has sent a new one.
_SHARED_NS: Final = 40_000_000_000


@lru_cache(_KNOWN_PATHS)
def path_of(components: bytes) -> bytes:
    """Absolute path from components that are leaf first, each ended by NUL."""
    if not components:
        return b"/"
    names = components.split(b"\0")
    names.pop()  # what follows the last NUL
    names.reverse()
    return b"/" + b"/".join(name for name in names if name != b"/")


def arguments_of(raw: bytes) -> tuple[bytes, ...]:
    """Arguments, each ended by NUL; the last one may have been cut."""
    return tuple(raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def joined(base: bytes, text: bytes) -> bytes:
    """Path that ``text`` leads to from directory ``base``, without symbolic links resolved.

    ``base`` is the process's root for an absolute text: inside a chroot the two differ, and
    ``..`` does not lead out of it.
    """
    if text.startswith(b"/"):
        text = posixpath.normpath(text).lstrip(b"/")
    path = base + b"/" + text
    return b"/" + posixpath.normpath(path).lstrip(b"/")


class Texts(dict[int, bytes]):
    """The texts of one record by part; absent parts are lost or were never sent."""

    __slots__ = ()

    def path(self) -> bytes | None:
        """The record's path."""
        raw = self.get(_PATH)
        return None if raw is None else path_of(raw)

    def cwd(self) -> bytes | None:
        """Working directory."""
        return self._walked(Part.CWD)

    def arguments(self) -> tuple[bytes, ...]:
        """Arguments, none when they were lost."""
        return arguments_of(self.get(Part.ARGS, b""))

    def environment(self) -> bytes | None:
        """Environment block, None when it was lost; the last variable may have been cut."""
        return self.get(Part.ENVIRONMENT)

    def script(self) -> bytes | None:
        """What was asked to run, for a script."""
        raw = self.get(Part.SCRIPT)
        return None if raw is None else raw.split(b"\0", 1)[0]

    def named(self, text: Part, base: Part) -> bytes | None:
        """Path of a system call's string and the directory that it starts at."""
        raw, start = self.get(text), self._walked(base)
        if raw is None or start is None:
            return None
        return joined(start, raw.split(b"\0", 1)[0])

    def _walked(self, part: Part) -> bytes | None:
        raw = self.get(part)
        return None if raw is None else path_of(raw)


NO_TEXTS: Final = Texts()


class TextStore:
    """Texts by id until a record claims them."""

    def __init__(self) -> None:
        self._texts: dict[int, Texts] = {}
        # What many records share, by the id of its text: the newer, and those before. Paths of
        # directories with a slash behind them, environments as the kernel laid them down.
        self._shared: dict[int, bytes] = {}
        self._older: dict[int, bytes] = {}
        self._renewed_ns = 0
        self._drains_left: dict[int, int] = {}

    def add(self, drained: Iterable[tuple[int, int, int, int, bytes]]) -> int:
        """Take one drain of the text rings: (id, part, flags, chunk, bytes); return how many."""
        known, shared = self._texts, self._shared
        count = 0
        for text_id, part, _flags, _chunk, raw in drained:
            count += 1
            if part == _DIRECTORY:
                shared[text_id] = path_of(raw).rstrip(b"/") + b"/"
                continue
            if part == _ENVIRONMENT:
                shared[text_id] = shared[text_id] + raw if text_id in shared else raw
                continue
            texts = known.get(text_id)
            if texts is None:
                texts = known[text_id] = Texts()
            # chunks of one text follow each other on their CPU, so in the ring
            texts[part] = texts[part] + raw if part in texts else raw
        return count

    def claim(self, text_id: int) -> Texts:
        """Texts of a record; empty when they were lost."""
        return self._texts.pop(text_id, NO_TEXTS)

    def claim_program(self, text_id: int, environment_id: int) -> Texts:
        """Texts of an exec, with the environment that it may share with others."""
        found = self._texts.pop(text_id, None) or Texts()
        environment = self.directory(environment_id)
        if environment is not None:
            found[_ENVIRONMENT] = environment
        return found

    def directory(self, text_id: int) -> bytes | None:
        """Path of a directory with a slash behind it; None when its text was lost."""
        return self._shared.get(text_id) or self._older.get(text_id)

    def renew(self, at_ns: int) -> None:
        """Forget what records shared and no record from ``at_ns`` on names."""
        if at_ns - self._renewed_ns > _SHARED_NS:
            self._older, self._shared, self._renewed_ns = self._shared, {}, at_ns

    def forget_unclaimed(self) -> int:
        """Drop texts whose record never came; return how many.

        To be called once for each drain that left no record in its ring.
        """
        left = {key: self._drains_left.get(key, _KEPT_DRAINS) - 1 for key in self._texts}
        stale = [key for key, drains in left.items() if drains < 0]
        for key in stale:
            del self._texts[key], left[key]
        self._drains_left = left
        return len(stale)
