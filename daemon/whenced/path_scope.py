"""Which paths are recorded: prefixes in and out, by settings. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PathScope:
    """Prefixes of whole components; exclusion wins, no inclusion means everything."""

    included: tuple[bytes, ...] = ()
    excluded: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, included: Iterable[Path], excluded: Iterable[Path]) -> Self:
        """Build it from settings."""
        return cls(tuple(map(os.fsencode, included)), tuple(map(os.fsencode, excluded)))

    def wants(self, path: bytes) -> bool:
        """Whether a path is to be recorded."""
        if any(_is_below(path, prefix) for prefix in self.excluded):
            return False
        return not self.included or any(_is_below(path, prefix) for prefix in self.included)


def _is_below(path: bytes, prefix: bytes) -> bool:
    return prefix in (path, b"/") or path.startswith(prefix + b"/")
