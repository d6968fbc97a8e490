"""From a plan to capturing: programs loaded and attached, and a thread that empties their rings.

Imports little: whatever is not needed for this is in daemon.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whenced.exclusion import Exclusion
from whenced.intake import Intake, boot_ns
from whenced.libbpf import Libbpf
from whenced.loader import Capture
from whenced.plan import ITERATORS
from whenced.rings import Sizes

if TYPE_CHECKING:
    from contextlib import ExitStack

    from whenced.config import Settings
    from whenced.plan import Plan


@dataclass(frozen=True, slots=True)
class KernelSide:
    """What captures already; the rest of the daemon is built around it."""

    library: Libbpf
    capture: Capture
    exclusion: Exclusion
    intake: Intake
    plan: Plan
    started_ns: int  # boot clock, of the capture
    number: int = 0  # of this capture among those of the boot; grows
    wait_ms: int = 0  # from the daemon's start to capturing


def begin(settings: Settings, made: Plan, stack: ExitStack) -> KernelSide:
    """Capture from the return on; stack takes it apart. Raises BpfError."""
    library = Libbpf()
    sizes = Sizes.of(settings.life_ring_bytes, settings.event_ring_bytes, settings.text_ring_bytes)
    capture = stack.enter_context(Capture(library, made, sizes))
    exclusion = Exclusion(capture)
    stack.callback(exclusion.close)
    capture.attach()
    started_ns = boot_ns()
    intake = Intake(capture, boot_ns)
    stack.callback(intake.cancel)
    intake.start()  # a host with many open files would fill the ring during the walk
    capture.walk(ITERATORS)
    return KernelSide(library, capture, exclusion, intake, made, started_ns)
