"""What a user can act on. Every text holds the offending item and the remedy in one sentence.

WhenceError
├── UnreachableError     no collector answers, or not now              exit 3
├── RefusedError         the collector declined                        exit 4
├── NotFoundError        the collector knows nothing of it             exit 1
├── MisuseError          the question is malformed                     exit 2
├── MissingFileError     there is no such file                         exit 1
└── UnreadableFileError  what stands there has no content to read      exit 1, 2 or 4
"""

from __future__ import annotations

from typing import ClassVar


class WhenceError(Exception):
    """Anything that ends a question without an answer."""

    exit_code: ClassVar[int] = 4


class UnreachableError(WhenceError):
    """No collector answers at the address, or it says that it cannot now."""

    exit_code = 3


class RefusedError(WhenceError):
    """The collector understood the question and declined, or failed while it answered."""

    exit_code = 4


class NotFoundError(WhenceError):
    """The collector knows no such run or content."""

    exit_code = 1


class MisuseError(WhenceError):
    """The question is malformed."""

    exit_code = 2


class MissingFileError(WhenceError):
    """There is no such file, though something may be known of its path."""

    exit_code = 1


class UnreadableFileError(WhenceError):
    """The path exists but its content cannot be hashed; `code` is the exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: WhenceError) -> int:
    """Return the exit status of the command for an error (design contract, section 6)."""
    return error.code if isinstance(error, UnreadableFileError) else error.exit_code
