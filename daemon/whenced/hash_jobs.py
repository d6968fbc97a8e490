"""Which files want their bytes read, and when: pure state, time is given.

One job per file at a time. What the answers mean is versions.py's business.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from whenced.hash_messages import ANY, HashRequest

if TYPE_CHECKING:
    from whenced.event import FileKey
    from whenced.file_state import FileState
    from whenced.hash_messages import HashReply

_MS: Final = 1_000_000
_TORN_TRIES: Final = 8
_GONE_TRIES: Final = 2
RETRY_NS: Final = (2 * _MS, 5 * _MS, 20 * _MS, 100 * _MS, 500 * _MS, 2000 * _MS)


@dataclass(slots=True)
class HashJobs:
    """Jobs that wait for their time, and jobs in flight."""

    own_mount_ns: int
    # A live process of each mount namespace: through it the namespace's paths resolve.
    namespace_tgids: dict[int, int] = field(default_factory=dict)
    requests: list[HashRequest] = field(default_factory=list)
    _due: list[tuple[int, FileKey]] = field(default_factory=list)
    _tickets: dict[int, tuple[FileKey, int]] = field(default_factory=dict)
    _next_ticket: int = 1

    @property
    def in_flight(self) -> int:
        """Jobs that were not answered yet."""
        return len(self._tickets)

    @property
    def next_due_ns(self) -> int | None:
        """When due() has something to give."""
        return self._due[0][0] if self._due else None

    def due(self, now_ns: int) -> list[FileKey]:
        """Files whose time has come; each is given once."""
        keys = []
        while self._due and self._due[0][0] <= now_ns:
            keys.append(heapq.heappop(self._due)[1])
        return keys

    def schedule(self, state: FileState, at_ns: int) -> None:
        """Look at a file at a time, or again after the job that is in flight."""
        if state.ticket is not None:
            state.again = True
            return
        heapq.heappush(self._due, (at_ns, state.key))

    def retry(self, state: FileState, now_ns: int) -> None:
        """Look at a file later, each time later than the last."""
        delay_ns = RETRY_NS[min(state.tries, len(RETRY_NS) - 1)]
        state.tries += 1
        self.schedule(state, now_ns + delay_ns)

    def request(self, state: FileState) -> None:
        """Ask for a file's bytes: version 0 exactly while nobody wrote it, else the current."""
        if state.ticket is not None:
            state.again = True
            return
        wanted = 0 if state.number == 0 and not state.unseen else ANY
        state.ticket, state.asked_unseen = self._next_ticket, state.unseen
        self._next_ticket += 1
        self._tickets[state.ticket] = (state.key, wanted)
        self.requests.append(self._message(state, state.ticket, wanted))

    def hold(self, state: FileState) -> None:
        """Have a descriptor taken, so that the bytes outlive the name."""
        state.held = True
        self.requests.append(self._message(state, 0, ANY, hold_only=True))

    def answered(self, ticket: int) -> tuple[FileKey, int] | None:
        """(file, version asked for) of a job; None for a ticket that is unknown."""
        return self._tickets.pop(ticket, None)

    def _message(
        self, state: FileState, ticket: int, wanted: int, *, hold_only: bool = False
    ) -> HashRequest:
        tgid = state.tgid
        if state.mount_ns not in (0, self.own_mount_ns):
            tgid = self.namespace_tgids.get(state.mount_ns, tgid)
        return HashRequest(
            ticket,
            state.path,
            tgid,
            state.fd if tgid == state.tgid else ANY,
            *(state.key.device, state.key.inode, state.key.generation),
            wanted,
            *((state.size_bytes, state.mtime_ns) if wanted == 0 else (ANY, ANY)),
            magic=state.magic,
            written=state.number > 0 or bool(state.unseen),
            own_root=state.mount_ns == self.own_mount_ns,
            hold_only=hold_only,
        )


def is_worth_retrying(reply: HashReply, tries: int) -> bool:
    """Torn: it may come to rest. Not found: a rename may be on its way through the ring."""
    if reply.state == "torn":
        return tries < _TORN_TRIES
    return reply.state == "unhashed" and reply.version < 0 and tries < _GONE_TRIES
