"""Agents' way in (written next)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def serve(client: Any, http: str | None, environment: Mapping[str, str]) -> None:
    """Serve."""
