"""From a plan to capturing: programs loaded and attached, and a thread that empties their rings.

Imports little: whatever is not needed for this is in daemon.py.
"""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whenced import proc_stat
from whenced.exclusion import Exclusion
from whenced.intake import Intake, boot_ns
from whenced.journal import Found, Identity, Journal
from whenced.journal import find as journal_of
from whenced.kernel_objects import Pins
from whenced.libbpf import BpfError, Libbpf
from whenced.loader import Capture
from whenced.plan import ITERATORS
from whenced.rings import Sizes

if TYPE_CHECKING:
    from contextlib import ExitStack

    from whenced.config import Settings
    from whenced.data_dir import DataDir
    from whenced.plan import Plan

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KernelSide:
    """What captures already; the rest of the daemon is built around it."""

    library: Libbpf
    capture: Capture
    exclusion: Exclusion
    intake: Intake
    plan: Plan
    identity: Identity
    journal: Journal | None  # None: the capture ends with this process
    found: Found | None = None  # of a capture that goes on
    left_out: tuple[tuple[int, int], ...] = ()
    wait_ms: int = 0  # from the daemon's start to capturing


def begin(settings: Settings, made: Plan, stack: ExitStack, place: DataDir) -> KernelSide:
    """Capture from the return on; stack takes it apart. Raises BpfError or DataDirUnusable."""
    library = Libbpf()
    sizes = Sizes.of(
        settings.life_ring_bytes,
        settings.event_ring_bytes,
        settings.text_ring_bytes,
        settings.count_table_rows,
    )
    pins = _pins(settings, place)
    capture = Capture(library, made, sizes, pins)
    found = _found(capture, pins) if pins is not None and capture.is_adopted else None
    if pins is not None and found is None:
        if capture.is_adopted:
            capture.close()
        if pins.remove():
            log.warning("the capture that went on cannot be gone on with: beginning anew")
        capture = Capture(library, made, sizes, pins) if capture.is_closed else capture
    stack.enter_context(capture)
    exclusion = Exclusion(capture)
    stack.callback(exclusion.close)
    journal = Journal(pins.journal) if pins is not None else None
    if journal is not None:
        stack.callback(journal.close)
    side = (
        _go_on(capture, found, journal, stack)
        if found is not None and journal is not None
        else _begin(capture, journal, stack, place)
    )
    return replace(side, library=library, exclusion=exclusion, plan=made)


def remove(place: DataDir) -> bool:
    """End a capture that goes on without a daemon; False when there was none."""
    pins = Pins.of(place.daemon)
    Journal(pins.journal).remove()
    return pins.remove()


def _pins(settings: Settings, place: DataDir) -> Pins | None:
    """Where the capture may stand; what stands there although it must not is removed."""
    pins = Pins.of(place.daemon)
    if not settings.keep_capturing:
        pins.remove()
        return None
    if (why := pins.unusable()) is not None:
        log.warning("capture ends with this process: %s", why)
        return None
    return pins


def _found(capture: Capture, pins: Pins) -> Found | None:
    """What the daemon before this one wrote down of exactly this capture."""
    found = journal_of(pins.journal)
    if found is None or capture.is_asleep:
        return None
    from whenced.resume import layout  # noqa: PLC0415 -- imports much, and only where it is needed

    identity = found.identity
    ours = (boot_id(), capture.identity) == (identity.boot_id, identity.kernel_id)
    if not ours or not found.layout or found.layout != layout():
        return None
    return found


def _begin(
    capture: Capture, journal: Journal | None, stack: ExitStack, place: DataDir
) -> KernelSide:
    capture.attach()
    started_ns = boot_ns()
    number = place.number_start(boot_id(), started_ns // 1_000_000_000)
    epoch = secrets.token_hex(16)
    identity = Identity(boot_id(), capture.identity, started_ns, number, epoch)
    if journal is not None:
        journal.begin(identity)
    intake = Intake(capture, boot_ns, notes=journal)
    stack.callback(intake.cancel)
    intake.start()  # a host with many open files would fill the ring during the walk
    capture.walk(ITERATORS)
    if journal is not None:
        try:
            capture.keep()
        except (BpfError, OSError) as error:
            log.warning("capture ends with this process: %s", error)
            journal.remove()
            journal = None
    return _side(capture, intake, identity, journal)


def _go_on(capture: Capture, found: Found, journal: Journal, stack: ExitStack) -> KernelSide:
    """Take what the programs said meanwhile, from exactly where the last daemon was."""
    capture.go_on(found.kernel)
    journal.go_on(found)
    journal.daemon(os.getpid(), proc_stat.start_ns(os.getpid()))
    intake = Intake(capture, boot_ns, notes=journal)
    intake.queue = found.queue
    if found.kernel.table != capture.retired and found.queue.retired is None:
        intake.queue.retired = capture.take_retired(journal.retired)
    else:
        capture.empty_retired()
    stack.callback(intake.cancel)
    intake.start()
    left_out = (*found.daemons, (os.getpid(), proc_stat.start_ns(os.getpid())))
    return replace(_side(capture, intake, found.identity, journal), found=found, left_out=left_out)


def _side(
    capture: Capture, intake: Intake, identity: Identity, journal: Journal | None
) -> KernelSide:
    """Without what begin() knows."""
    nothing: Any = None
    return KernelSide(nothing, capture, nothing, intake, nothing, identity, journal)


def boot_id() -> str:
    """Name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
