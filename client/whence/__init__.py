"""Ask any file how it was made: the public names of the client.

Importing this package loads neither gRPC nor protobuf: `Client` and the rest come on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whence._version import __version__

if TYPE_CHECKING:
    from whence.client import Client
    from whence.errors import (
        MissingFileError,
        MisuseError,
        NotFoundError,
        RefusedError,
        UnreachableError,
        UnreadableFileError,
        WhenceError,
    )
    from whence.light import metric, tag

_HOMES = {
    "Client": "whence.client",
    "MissingFileError": "whence.errors",
    "MisuseError": "whence.errors",
    "NotFoundError": "whence.errors",
    "RefusedError": "whence.errors",
    "UnreachableError": "whence.errors",
    "UnreadableFileError": "whence.errors",
    "WhenceError": "whence.errors",
    "metric": "whence.light",
    "tag": "whence.light",
}

__all__ = [
    "Client",
    "MissingFileError",
    "MisuseError",
    "NotFoundError",
    "RefusedError",
    "UnreachableError",
    "UnreadableFileError",
    "WhenceError",
    "__version__",
    "metric",
    "tag",
]


def __getattr__(name: str) -> object:
    """Load a public name where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  only paid on first use

    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found
