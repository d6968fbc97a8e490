"""What a tag may be called, and which tags go with what is made from the tagged. Pure."""

from __future__ import annotations

import re

from whence_collector.errors import InvalidRequest

HEREDITARY = frozenset({"license", "pii", "test-set"})
VALUE_CHARS = 2000
CHANGES = 64
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


def check_key(key: str) -> str:
    """Return the key; raises InvalidRequest where it is none."""
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"{key!r} is no key: a letter, then letters, digits, '.', '_' and '-', 64 at most"
        )
    return key


def check_value(key: str, value: str | None) -> str | None:
    """Return the value, None for a label; raises InvalidRequest where it is too long."""
    if value is not None and len(value) > VALUE_CHARS:
        raise InvalidRequest(f"the value of {key} is longer than {VALUE_CHARS:,} characters")
    return value or None


def is_inherited(key: str, asked: bool | None) -> bool:
    """Tell whether what is made from the tagged has the tag too."""
    return key in HEREDITARY if asked is None else asked
