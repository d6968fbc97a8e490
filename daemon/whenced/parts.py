"""Everything that the capture loop joins; daemon.py builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from whenced.batching import BatchBuilder, FlushPolicy, Outbox
    from whenced.gpu_watch import GpuWatch
    from whenced.hash_client import HashClient
    from whenced.job_desk import JobDesk
    from whenced.journal import Journal
    from whenced.loader import Capture
    from whenced.metrics import Metrics
    from whenced.observer import Observer
    from whenced.proof import Proof
    from whenced.text import TextStore
    from whenced.versions import Versions


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the loop joins; daemon.py builds them."""

    kernel: Capture
    texts: TextStore
    observer: Observer
    versions: Versions
    hasher: HashClient
    builder: BatchBuilder
    outbox: Outbox
    policy: FlushPolicy
    metrics: Metrics
    housekeeping: Callable[[int], None]  # called about once a second with boot ns
    proof: Proof
    gpus: GpuWatch | None = None
    jobs: JobDesk | None = None  # None where its socket cannot be made
    journal: Journal | None = None  # None: a death loses what is in memory
    # (tgid, start_ns, to a tick of procfs) of daemons of this capture
    left_out: tuple[tuple[int, int], ...] = ()
    # The part of housekeeping that is state: boot ns, and up to when all was understood.
    forget: Callable[[int, int], None] = lambda *_: None
