"""Which paths are recorded: prefixes in and out, by settings. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PathScope:
    """Prefixes of whole components; exclusion wins, no inclusion means everything."""

    included: tuple[bytes, ...] = ()
    excluded: tuple[bytes, ...] = ()
    # The same, each with one slash at its end, for startswith().
    _into: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    _out: tuple[bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare what each path is compared with."""
        for name, prefixes in (("_into", self.included), ("_out", self.excluded)):
            slashed = tuple(prefix.rstrip(b"/") + b"/" for prefix in prefixes)
            object.__setattr__(self, name, slashed)  # the way of a frozen dataclass

    @classmethod
    def of(cls, included: Iterable[Path], excluded: Iterable[Path]) -> Self:
        """Build it from settings."""
        return cls(tuple(map(os.fsencode, included)), tuple(map(os.fsencode, excluded)))

    def wants(self, path: bytes) -> bool:
        """Whether a path is to be recorded."""
        slashed = path + b"/"
        if slashed.startswith(self._out):
            return False
        return not self._into or slashed.startswith(self._into)
