"""Which hosts have a stream open now; memory only, nothing of it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Presence:
    """Counts open streams by host; only used on the event loop."""

    def __init__(self) -> None:
        self._streams: Counter[int] = Counter()

    @contextmanager
    def stream(self, host_id: int) -> Iterator[None]:
        """Count a stream of the host while the block runs."""
        self._streams[host_id] += 1
        try:
            yield
        finally:
            self._streams[host_id] -= 1

    def is_connected(self, host_id: int) -> bool:
        """Tell whether the host's daemon has a stream open."""
        return self._streams[host_id] > 0

    def connected(self) -> int:
        """Count the hosts that have a stream open."""
        return sum(1 for streams in self._streams.values() if streams > 0)
