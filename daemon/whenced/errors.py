"""What can stop the daemon, each with its sentence and its exit code.

WhencedError
├── ConfigError           settings that cannot be used
├── NotRoot               started without the rights that capture needs
├── NoBtf                 the kernel does not describe its types
├── LoadFailed            the kernel refused the programs
├── DataDirUnusable       the data directory cannot be written
├── DataDirBusy           another whenced works in the data directory
└── DataDirTooNew         a later whenced wrote the data directory

May not do I/O: whoever raises one of these has the facts for its sentence.
"""

# ruff: noqa: N818 - each name says the condition; "Error" would add nothing to NoBtf.
from __future__ import annotations

# sysexits has finer codes, but a caller can act on one fact only: nothing was started, read the
# sentence. 2 is also what argparse exits with, so that every precondition looks the same.
PRECONDITION_EXIT = 2


class WhencedError(Exception):
    """A reason not to run; its text is one sentence with the remedy, fit for a user."""


class ConfigError(WhencedError):
    """Settings that cannot be used; names the place and the remedy."""


class NotRoot(WhencedError):
    """Started without root: BPF programs cannot be loaded."""


class NoBtf(WhencedError):
    """The kernel lacks /sys/kernel/btf/vmlinux, which the programs need to fit themselves."""


class LoadFailed(WhencedError):
    """The kernel refused to load or attach the programs."""


class DataDirUnusable(WhencedError):
    """The data directory cannot be made, read or written (full, read-only, forbidden)."""


class DataDirBusy(WhencedError):
    """Another whenced holds the lock of the data directory."""


class DataDirTooNew(WhencedError):
    """The data directory carries a layout version that this whenced does not know."""


EXIT_CODES: dict[type[WhencedError], int] = {
    ConfigError: PRECONDITION_EXIT,
    NotRoot: PRECONDITION_EXIT,
    NoBtf: PRECONDITION_EXIT,
    LoadFailed: PRECONDITION_EXIT,
    DataDirUnusable: PRECONDITION_EXIT,
    DataDirBusy: PRECONDITION_EXIT,
    DataDirTooNew: PRECONDITION_EXIT,
}


def exit_code(error: WhencedError) -> int:
    """Exit status for an error: that of the nearest class in the table."""
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return PRECONDITION_EXIT
