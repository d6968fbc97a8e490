"""The real kernel programs and the real observer, in this process, watching one control group.

What the daemon's loop joins, without hasher, disk and network: a hash job is
answered with "not read", so versions settle and no byte is hashed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import numpy as np
from tests.kernel.seen import Seen
from tests.scope import Scope

from whenced import host, plan
from whenced.hash_jobs import HashJobs
from whenced.hash_messages import HashReply
from whenced.host_names import HostNames
from whenced.inode_probe import InodeProbe
from whenced.intake import boot_ns
from whenced.libbpf import Libbpf
from whenced.loader import Capture
from whenced.losses import CLASS_OF
from whenced.observer import Observer
from whenced.processes import Processes
from whenced.record import Kind, Rows
from whenced.resolve import Resolver
from whenced.rings import Sizes
from whenced.settled_reads import Drains
from whenced.text import TextStore
from whenced.versions import Versions

RING_BYTES = 8 << 20
_PACE_S = 0.002
_PATIENCE_S = 60
# Every hash job is due by then: a reader that was promised a version gets one at the end.
_LATER_NS = 3_600_000_000_000


class Witness:
    """A loaded and attached Capture with everything that turns its records into rows."""

    def __init__(self, kernel: Capture, scope: Scope) -> None:
        self.kernel = kernel
        self.scope = scope
        self.texts = TextStore()
        self.versions = Versions(0, HashJobs(Path("/proc/self/ns/mnt").stat().st_ino))
        probe = InodeProbe(kernel.probe_fd, kernel.map_fd("probes"))
        self.observer = Observer(Processes(HostNames()), self.versions, Resolver(probe))
        self.received: Counter[str] = Counter()
        self.records: list[Rows] = []
        self.uses: list[tuple[Rows, Rows]] = []

    def drain(self) -> None:
        """Take what the rings hold, in the daemon's order."""
        rows, texts = self.kernel.rings.take(boot_ns())
        self.received["text"] += self.texts.add(texts)
        for kind, count in enumerate(np.bincount(rows["kind"]).tolist()):
            if count:
                self.received[CLASS_OF[Kind(kind)]] += count
        self.records.append(rows)
        Drains(self.observer, self.versions).handle(rows, self.texts)

    def swap(self) -> None:
        """Retire the table of counts and take it."""
        keys, uses = self.kernel.swap_uses()
        self.drain()
        self.received["aggregate"] += len(keys)
        self.uses.append((keys, uses))
        self.observer.handle_uses(keys, uses, boot_ns())

    def see(self, place: Path, output: str = "") -> Seen:
        """Take everything that there is, settle what waits for a hash, return the rows."""
        self.drain()
        self.swap()
        while self.kernel.rings.backlog_bytes or self.kernel.rings.sorter.held_rows:
            self.drain()
        self._answer_jobs()
        return Seen(place, self.observer.take_rows(), output)

    def _answer_jobs(self) -> None:
        jobs = self.versions.jobs
        self.observer.code_requests.clear()
        while jobs.requests or jobs.next_due_ns is not None:
            requests, jobs.requests = jobs.requests, []
            for request in requests:
                reply = HashReply(request.ticket, "unhashed", reason="nobody reads in this test")
                self.versions.on_reply(reply, 0)
            self.versions.tick(boot_ns() + _LATER_NS)

    def forget(self) -> None:
        """Drop what was taken so far: a test begins."""
        self.see(Path("/"))
        self.records.clear()
        self.uses.clear()

    def follow(
        self, process: Popen[str], place: Path, *, step: Callable[[], None] | None = None
    ) -> Seen:
        """Drain until the process and its descendants have ended; it has to return 0."""
        take = step or self.drain
        while process.poll() is None:
            take()
            time.sleep(_PACE_S)
        output, complaints = process.communicate(timeout=_PATIENCE_S)

        assert (process.returncode, process.args) == (0, process.args), complaints
        self.await_empty()
        return self.see(place, output)

    def await_empty(self) -> None:
        """Drain until the group has no process left."""
        deadline = time.monotonic() + _PATIENCE_S
        while (self.scope.directory / "cgroup.procs").read_text():
            assert time.monotonic() < deadline, "a workload left a process that does not end"
            self.drain()
            time.sleep(_PACE_S)

    def run(self, command: Sequence[str], place: Path) -> Seen:
        """Run a command to its end in ``place`` and return what was seen of it alone."""
        self.forget()
        return self.follow(self.scope.start(command, place), place)


@contextmanager
def watching(
    scope: Scope,
    ring_bytes: int = RING_BYTES,
    text_bytes: int = RING_BYTES,
    life_bytes: int = RING_BYTES,
) -> Iterator[Witness]:
    """Load and attach for one control group; raises BpfError where the kernel cannot."""
    made = plan.make(host.probe(), [str(scope.directory)])

    assert [ability.name for ability in made.blockers] == []
    assert set(made.attached) == set(plan.PROGRAMS)
    sizes = Sizes.of(life_bytes, ring_bytes, text_bytes)
    with Capture(Libbpf(), made, sizes) as kernel:
        kernel.attach()
        yield Witness(kernel, scope)
