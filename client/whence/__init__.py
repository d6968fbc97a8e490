"""Ask any file how it was made: the public names of the client.

Importing this package loads neither gRPC nor protobuf: `Client` and the rest come on first use.
"""

from __future__ import annotations

from whence._version import __version__

# As typing's, without loading it: that and what it loads would be most of what a job pays.
TYPE_CHECKING = False

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
    # Not importlib.import_module: with a list of names __import__ gives the module itself as well.
    found = globals()[name] = getattr(__import__(_HOMES[name], fromlist=[name]), name)
    return found
