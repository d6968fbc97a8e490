"""The thread that watches GPUs: kernel events, NVML once a second, slices; the loop takes the rows.

Off where there is no GPU, and says so; looks again now and then, for a driver may be loaded later.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whenced.gpu_devices import Gpu, StandIn, by_device, nodes_of, read_devices, stand_in_gpus
from whenced.gpu_holds import HELD, ORPHANED, Holds, HoldState
from whenced.gpu_loader import GpuProbe
from whenced.gpu_reading import NvmlGone, Reading
from whenced.gpu_slices import ShareState, SliceMaker
from whenced.gpu_totals import GpuTotals
from whenced.libbpf import BpfError, Libbpf
from whenced.rows import GpuDeviceRow, GpuFaultRow, GpuHoldRow, GpuRow, GpuShareRow, ProcessKey

if TYPE_CHECKING:
    from whenced.gpu_record import Holder
    from whenced.loader import Capture
    from whenced.nvml import Nvml

log: Final = logging.getLogger(__name__)

_SECOND_NS: Final = 1_000_000_000
_LOOK_AGAIN_NS: Final = 10 * _SECOND_NS
_WALK_NS: Final = 10 * _SECOND_NS
_IDLE_SLICE_NS: Final = 10 * _SECOND_NS
_ORPHAN_PACE_NS: Final = 250_000_000
# So long after a change slices stay short: the collector settles 3 s behind them.
_NEWS_NS: Final = 6 * _SECOND_NS
# A process that the capture loop has not met yet is waited for so long, then named without it.
_UNKNOWN_NS: Final = 2 * _SECOND_NS

Key = Callable[[int, int, int], ProcessKey | None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the watch is given."""

    stand_ins: tuple[StandIn, ...]
    use_nvml: bool
    state_file: Path
    boot_id: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row whose process is not an image yet."""

    row: HoldState | ShareState
    since_ns: int


class GpuWatch:
    """Watches until close(); take() gives rows to the capture loop. One thread of its own."""

    def __init__(
        self, library: Libbpf, capture: Capture, options: Options, clock: Callable[[], int]
    ) -> None:
        self._library, self._capture = library, capture
        self._options, self._clock = options, clock
        self.holds = Holds()
        self.totals = GpuTotals()
        self.reason: str | None = "looking for a GPU"  # why accounting is off, None when on
        self.gpus: tuple[Gpu, ...] = ()
        self._probe: GpuProbe | None = None
        self._nvml: Nvml | None = None
        self._nvml_reason: str | None = None
        self._slices: dict[str, SliceMaker] = {}
        self._rows: list[GpuRow | _Waiting] = []
        self._lock = threading.Lock()
        self._closing = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._looked_ns = self._walked_ns = self._read_ns = 0
        self.lost = 0  # kernel events for which there was no room
        self.urgent = False  # a hold changed since the loop last took rows
        self.wake: Callable[[], None] = lambda: None  # tells the loop; it sets this
        self._changed_ns = 0  # when a hold began or ended last
        self._thread = threading.Thread(target=self._run, name="gpu-watch", daemon=True)

    def start(self) -> None:
        """Begin; what is open now is found before this returns."""
        self._look(self._clock())
        self._thread.start()

    def close(self) -> None:
        """End the thread after one last look, and let go of the driver."""
        self._closing = True
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._save(self._clock())
        if self._probe is not None:
            self._probe.__exit__(None, None, None)
        if self._nvml is not None:
            self._nvml.close()

    # For the capture loop ------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Rows that wait to be taken."""
        return len(self._rows)

    def take(self, key: Key, now_ns: int) -> list[GpuRow]:
        """Return rows whose processes are known; key names the image of a process."""
        with self._lock:
            waiting, self._rows = self._rows, []
            self.urgent = False
        ready: list[GpuRow] = []
        kept: list[GpuRow | _Waiting] = []
        for each in waiting:
            if not isinstance(each, _Waiting):
                ready.append(each)
                continue
            process = each.row.process
            found = key(*process)
            if found is None and now_ns - each.since_ns < _UNKNOWN_NS:
                kept.append(each)
            else:
                named = found or ProcessKey(process.tgid, process.start_ns, 0)
                ready.append(_row_of(each.row, named))
        if kept:
            with self._lock:
                self._rows[:0] = kept
        return ready

    def status(self) -> dict[str, Any]:
        """Tell how accounting is, for `doctor`."""
        intervals = self.holds.open_intervals()
        return {
            "accounting": "off" if self.reason else "on",
            "reason": self.reason,
            "nvml": self._nvml_reason or "on",
            "gpus": len([gpu for gpu in self.gpus if gpu.mig_parent is None]),
            "held": len([each for each in intervals if each.kind == HELD]),
            "orphans": [
                {"gpu": each.gpu, "pids": self.holds.holder_pids(each.hold)}
                for each in intervals
                if each.kind == ORPHANED
            ],
            "lost_events": self.lost,
            "corrections": self.holds.corrections,
        }

    def nvml_errors(self) -> Counter[str]:
        """Count failed calls of NVML by name, across its reloads."""
        return self.totals.errors + (self._nvml.errors if self._nvml else Counter())

    # The thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        events = select.epoll()
        events.register(self._wake_fd, select.EPOLLIN)
        watched = -1
        while not self._closing:
            if self._probe is not None and watched < 0:
                watched = self._probe.fileno()
                events.register(watched, select.EPOLLIN)
            events.poll(self._patience_s())
            self.step(self._clock())
        events.close()

    def _patience_s(self) -> float:
        due_ns = self._looked_ns + _LOOK_AGAIN_NS
        if self._probe is not None:
            due_ns = self._read_ns + _SECOND_NS
            if self.holds.may_find_orphans:
                due_ns = min(due_ns, self._clock() + _ORPHAN_PACE_NS)
        return max(0.0, min(due_ns - self._clock(), _SECOND_NS) / _SECOND_NS)

    def step(self, now_ns: int) -> None:
        """Do what is due."""
        if self._probe is None:
            if now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
                self._look(now_ns)
            return
        self.holds.on_events(self._probe.drain())
        self._check_losses(now_ns)
        if now_ns - self._walked_ns >= _WALK_NS:
            self._walk(now_ns)
        self.holds.find_orphans(now_ns)
        self._emit_holds(now_ns)
        if now_ns - self._read_ns >= _SECOND_NS:
            self._read(now_ns)
            self._save(now_ns)

    def _look(self, now_ns: int) -> None:
        """Begin to watch, where there is a GPU."""
        self._looked_ns = now_ns
        nodes = nodes_of(read_devices(), self._options.stand_ins)
        if not nodes:
            self.reason = "no NVIDIA driver is loaded on this host"
            return
        try:
            self._probe = GpuProbe(
                self._library, self._capture, nodes, count_failed=bool(self._options.stand_ins)
            )
        except BpfError as error:
            self.reason = f"the kernel refused the GPU programs: {str(error).splitlines()[0]}"
            return
        self.reason = None
        self._find_gpus(now_ns)
        self._restore()
        self._walk(now_ns)
        self._emit_holds(now_ns)
        self._read_ns = now_ns

    def _find_gpus(self, now_ns: int) -> None:
        """Ask NVML which GPUs there are; what changed becomes rows."""
        found = stand_in_gpus(self._options.stand_ins)
        if self._options.use_nvml:
            try:
                if self._nvml is None:
                    # Not before there is a GPU: the binding takes megabytes.
                    from whenced.nvml import Nvml  # noqa: PLC0415

                    self._nvml = Nvml()
                found += self._nvml.gpus()
                self._nvml_reason = None
            except NvmlGone as error:
                self._nvml, self._nvml_reason = None, str(error)
        else:
            self._nvml_reason = "turned off by the settings"
        if self._nvml is None and self.gpus:
            return  # the driver is being reloaded: the GPUs are the same until it says otherwise
        new = [gpu for gpu in found if gpu not in self.gpus]
        self.gpus = tuple(found)
        self.holds.uuid_of = by_device(found)
        for gpu in found:
            if gpu.mig_parent is None and gpu.uuid not in self._slices:
                self._slices[gpu.uuid] = SliceMaker(gpu.uuid, now_ns)
        self._put([_device_row(gpu, now_ns) for gpu in new])

    def _check_losses(self, now_ns: int) -> None:
        assert self._probe is not None  # noqa: S101 -- step() looked
        lost = self._probe.counts()[1]
        if lost > self.lost:
            self.lost = lost
            self._walk(now_ns)

    def _walk(self, now_ns: int) -> None:
        assert self._probe is not None  # noqa: S101 -- the callers looked
        self.holds.on_walk(self._probe.walk(), now_ns)
        self._walked_ns = now_ns

    def _read(self, now_ns: int) -> None:
        """Look at every GPU, and close the slices that are due."""
        if self._nvml is None or now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
            self._looked_ns = now_ns
            self._find_gpus(now_ns)
        busy = {each.gpu for each in self.holds.open_intervals() if each.kind != 1}
        for uuid, maker in self._slices.items():
            reading = self._reading(uuid)
            maker.add(reading, now_ns)
            for each in reading.processes or ():
                self.holds.on_compute_processes(uuid, [each.pid], now_ns)
            self.totals.add(uuid, reading, self.holds.open_intervals(), now_ns - self._read_ns)
            is_news = uuid in busy or now_ns - self._changed_ns < _NEWS_NS
            due_ns = _SECOND_NS if is_news else _IDLE_SLICE_NS
            if now_ns - maker.from_ns >= due_ns:
                row, shares = maker.close(now_ns, self._holder_of)
                self._put([row, *(_Waiting(share, now_ns) for share in shares)])
        self._read_ns = now_ns
        self._read_faults(now_ns)

    def _reading(self, uuid: str) -> Reading:
        if self._nvml is None:
            return Reading()
        try:
            return self._nvml.read(uuid)
        except NvmlGone as error:
            self._drop_nvml(str(error))
            return Reading()

    def _read_faults(self, now_ns: int) -> None:
        if self._nvml is None:
            return
        try:
            faults = self._nvml.faults()
        except NvmlGone as error:
            self._drop_nvml(str(error))
            return
        for uuid, xid in faults:
            self.totals.faults[uuid, xid] += 1
        self._put([GpuFaultRow(uuid, now_ns, xid) for uuid, xid in faults])

    def _drop_nvml(self, reason: str) -> None:
        """Every handle is void: begin anew with the next look."""
        if self._nvml is not None:
            self.totals.errors.update(self._nvml.errors)
        log.warning("NVML went away (%s): GPU activity is not known until it is back", reason)
        self._nvml, self._nvml_reason = None, reason

    def _holder_of(self, pid: int) -> Holder | None:
        for each in self.holds.open_intervals():
            if each.process.tgid == pid:
                return each.process
        return None

    def _emit_holds(self, now_ns: int) -> None:
        changed = self.holds.take()
        if changed:
            self._changed_ns = now_ns
            self.totals.count_ended(changed)
            self._put([_Waiting(each, now_ns) for each in changed])
            self.urgent = True
            self.wake()

    def _put(self, rows: Sequence[GpuRow | _Waiting]) -> None:
        with self._lock:
            self._rows.extend(rows)

    # Across restarts -----------------------------------------------------------------------------

    def _save(self, now_ns: int) -> None:
        """Keep what a daemon after this one needs; best effort, once a second."""
        if self._probe is None:
            return
        saved = json.dumps(self.holds.saved(self._options.boot_id, now_ns))
        fresh = self._options.state_file.with_suffix(".new")
        try:
            fresh.write_text(saved, encoding="ascii")
            fresh.replace(self._options.state_file)
        except OSError as error:
            log.debug("GPU holds not saved: %s", error)

    def _restore(self) -> None:
        try:
            saved = json.loads(self._options.state_file.read_text(encoding="ascii"))
            self.holds.restore(saved, self._options.boot_id)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "%s is not what was saved (%s): GPU holds begin anew",
                self._options.state_file, error,
            )  # fmt: skip


def _device_row(gpu: Gpu, now_ns: int) -> GpuDeviceRow:
    return GpuDeviceRow(
        gpu.uuid, now_ns, gpu.model, gpu.pci, gpu.driver, gpu.mig_parent, gpu.minor,
        gpu.nvml_index, gpu.memory_bytes, gpu.compute_slices, gpu.memory_slices,
    )  # fmt: skip


def _row_of(state: HoldState | ShareState, process: ProcessKey) -> GpuRow:
    if isinstance(state, ShareState):
        return GpuShareRow(
            state.gpu, process, state.from_ns, state.until_ns, state.sm_ppm, state.memory_bytes,
            state.mps,
        )  # fmt: skip
    return GpuHoldRow(state.hold, process, *state[2:])
