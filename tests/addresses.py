"""Addresses on this host that nobody uses."""

from __future__ import annotations

import socket


def free_address() -> str:
    """Return a loopback address whose port, and the two metrics ports above it, are free."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for above in (1, 2):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port + above))
            except (OSError, OverflowError):
                continue
            return f"127.0.0.1:{port}"
