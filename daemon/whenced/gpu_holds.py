"""GPU events to intervals: attached, held, orphaned, for each (open file, GPU). Pure state.

An interval belongs to the open file: it ends when the driver's last reference goes, whatever became
of the process that opened it. Rules (version 1):
  attached  a GPU's node is open: from the open to the release;
  held      a GPU is registered with UVM: from the first successful registration of its UUID
            through the file to its unregistration or the release;
  orphaned  held, and the process that registered it has ended ORPHAN_NS ago: from its end on.
A process that only attaches (a monitor) never holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from whence_proto.v1 import ingest_pb2
from whenced.gpu_record import GpuEvent, GpuKind, GpuRole, Holder

ATTACHED: Final = ingest_pb2.GPU_HOLD_KIND_ATTACHED
HELD: Final = ingest_pb2.GPU_HOLD_KIND_HELD
ORPHANED: Final = ingest_pb2.GPU_HOLD_KIND_ORPHANED
EVENT: Final = ingest_pb2.GPU_EDGE_SOURCE_EVENT
FOUND: Final = ingest_pb2.GPU_EDGE_SOURCE_FOUND
RESTART: Final = ingest_pb2.GPU_EDGE_SOURCE_RESTART

# The driver takes its time to free what a process had: no orphan before that.
ORPHAN_NS: Final = 500_000_000
_REMEMBERED: Final = 4096

OpenFile = tuple[int, int]  # address of the struct file, when it was first seen


class HoldState(NamedTuple):
    """One interval as it stands; a later state of the same hold replaces it. Times are boot ns."""

    hold: int  # random: names the interval for good
    process: Holder
    gpu: str | None  # UUID, None where no one could map the node
    device: int
    kind: int
    start_ns: int
    end_ns: int | None
    start_source: int
    end_source: int | None
    start_uncertainty_ns: int
    end_uncertainty_ns: int
    holders: int  # processes that have the file open, as last seen


@dataclass(slots=True)
class _File:
    """An open file of a GPU node."""

    device: int
    role: int
    opener: Holder
    found: bool  # was open before it was seen
    attached: HoldState | None = None
    held: dict[str, HoldState] = field(default_factory=dict)  # by UUID
    holders: set[Holder] = field(default_factory=set)

    def intervals(self) -> list[HoldState]:
        return [*([self.attached] if self.attached else []), *self.held.values()]


class Holds:
    """Every open file of a GPU node, and the intervals that it makes."""

    def __init__(self, new_id: Callable[[], int] = lambda: secrets.randbits(63)) -> None:
        self._new_id = new_id
        self._files: dict[OpenFile, _File] = {}
        self._ended: dict[tuple[int, int], int] = {}  # (tgid, start) -> when
        self._changed: dict[int, HoldState] = {}
        self._earlier: list[tuple[OpenFile, _File]] = []  # from before a restart
        self._restored_ns = 0
        self.uuid_of: Mapping[int, str] = {}  # device number -> UUID, kept by the sampler
        self.corrections = 0  # what a walk found that no event had told

    # What comes in ---------------------------------------------------------------------------

    def on_events(self, events: Iterable[GpuEvent]) -> None:
        """Take what the kernel side saw, oldest first."""
        for event in events:
            _HANDLERS[event.kind](self, event)

    def on_walk(self, events: Iterable[GpuEvent], now_ns: int) -> None:
        """Take a whole walk over open files: it also tells who holds them now."""
        seen: dict[OpenFile, set[Holder]] = {}
        for event in events:
            _HANDLERS[event.kind](self, event)
            if event.kind == GpuKind.SEEN:
                seen.setdefault((event.file, event.since_ns), set()).add(event.process)
        for key, file in self._files.items():
            file.holders = seen.get(key, set())
            for each in file.intervals():
                if each.holders != len(file.holders):
                    self._replace(file, each._replace(holders=len(file.holders)))
        self._give_up_earlier(now_ns)

    def on_compute_processes(self, gpu: str, tgids: Iterable[int], now_ns: int) -> None:
        """Take NVML's list: it names the GPU of a UVM file whose registration nobody saw."""
        wanted = set(tgids)
        for file in self._files.values():
            if file.role != GpuRole.UVM or not file.found or gpu in file.held:
                continue
            if file.opener.tgid in wanted:
                late_ns = max(0, now_ns - file.opener.start_ns)
                self._begin(file, file.opener, gpu, HELD, now_ns, FOUND, late_ns)

    def on_lost(self, now_ns: int) -> None:
        """Records were lost: the walk that follows counts what it corrects."""
        self.corrections += 1

    # What goes out ---------------------------------------------------------------------------

    def take(self) -> list[HoldState]:
        """Return intervals that began, changed or ended since the last call."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def open_intervals(self) -> list[HoldState]:
        """Return all intervals that go on."""
        return [each for file in self._files.values() for each in file.intervals()]

    def holder_pids(self, hold: int) -> list[int]:
        """Return who has the open file of an interval, as of the last walk."""
        for file in self._files.values():
            if any(each.hold == hold for each in file.intervals()):
                return sorted(each.tgid for each in file.holders)
        return []

    def __len__(self) -> int:
        return len(self._files)

    # Across restarts ---------------------------------------------------------------------------

    def saved(self, boot_id: str, now_ns: int) -> dict[str, Any]:
        """Return the state as JSON can hold it."""
        return {
            "boot_id": boot_id,
            "at_ns": now_ns,
            "files": [
                {
                    "file": key,
                    "device": file.device,
                    "role": file.role,
                    "opener": file.opener,
                    "found": file.found,
                    "intervals": file.intervals(),
                }
                for key, file in self._files.items()
            ],
        }

    def restore(self, saved: Mapping[str, Any], boot_id: str) -> None:
        """Take the state of the daemon before: what is still open goes on under its name.

        What the next walk does not find ended meanwhile. Raises KeyError, TypeError or ValueError
        where it is not what saved() made.
        """
        if saved["boot_id"] != boot_id:
            return
        self._restored_ns = int(saved["at_ns"])
        for each in saved["files"]:
            file = _File(each["device"], each["role"], Holder(*each["opener"]), each["found"])
            for raw in each["intervals"]:
                state = HoldState(raw[0], Holder(*raw[1]), *raw[2:])
                if state.kind == ATTACHED:
                    file.attached = state
                else:
                    file.held[str(state.gpu)] = state
            address, since_ns = each["file"]
            self._earlier.append(((address, since_ns), file))

    def _give_up_earlier(self, now_ns: int) -> None:
        """End what a restart lost sight of: between the last save and this walk."""
        for _, file in self._earlier:
            for each in file.intervals():
                self._changed[each.hold] = each._replace(
                    end_ns=self._restored_ns,
                    end_source=RESTART,
                    end_uncertainty_ns=now_ns - self._restored_ns,
                )
        self._earlier = []

    # Handlers, by kind of event -------------------------------------------------------------------

    def _on_opened(self, event: GpuEvent) -> None:
        file = _File(event.device, event.role, event.process, found=False)
        self._files[event.file, event.since_ns] = file
        if event.role == GpuRole.DEVICE:
            self._begin(
                file, event.process, self.uuid_of.get(event.device), ATTACHED, event.at_ns, EVENT, 0
            )

    def _on_registered(self, event: GpuEvent) -> None:
        file = self._files.get((event.file, event.since_ns))
        if file is None:  # its open was lost
            file = _File(event.device, event.role, event.process, found=True)
            self._files[event.file, event.since_ns] = file
        uuid = str(event.uuid)
        if (held := file.held.get(uuid)) is None:
            self._begin(file, event.process, uuid, HELD, event.at_ns, EVENT, 0)
        elif held.kind == ORPHANED and not self._has_ended(event.process):
            self._end(file, held, event.at_ns, EVENT, 0)
            self._begin(file, event.process, uuid, HELD, event.at_ns, EVENT, 0)

    def _on_unregistered(self, event: GpuEvent) -> None:
        file = self._files.get((event.file, event.since_ns))
        held = file.held.get(str(event.uuid)) if file else None
        if file and held:
            self._end(file, held, event.at_ns, EVENT, 0)

    def _on_released(self, event: GpuEvent) -> None:
        file = self._files.pop((event.file, event.since_ns), None)
        if file is None:
            return
        for each in file.intervals():
            self._end(file, each, event.at_ns, EVENT, event.uncertainty_ns)

    def _on_ended(self, event: GpuEvent) -> None:
        """Whoever registered has ended: its files are about to be released, or live on."""
        self._ended[event.process.tgid, event.process.start_ns] = event.at_ns
        if len(self._ended) > _REMEMBERED:
            self._ended.pop(next(iter(self._ended)))

    def find_orphans(self, now_ns: int) -> None:
        """Holds that outlive their process by more than its own end takes are orphans."""
        for file in self._files.values():
            for held in list(file.held.values()):
                ended_ns = self._ended.get(held.process[:2])
                if held.kind != HELD or ended_ns is None or now_ns - ended_ns < ORPHAN_NS:
                    continue
                ended_ns = max(ended_ns, held.start_ns)
                self._end(file, held, ended_ns, EVENT, 0)
                gpu = str(held.gpu)
                self._begin(file, held.process, gpu, ORPHANED, ended_ns, EVENT, 0)

    @property
    def may_find_orphans(self) -> bool:
        """Whether some hold has outlived its process, for find_orphans to look at."""
        return any(
            held.kind == HELD and held.process[:2] in self._ended
            for file in self._files.values()
            for held in file.held.values()
        )

    def _on_seen(self, event: GpuEvent) -> None:
        key = (event.file, event.since_ns)
        if key in self._files:
            return
        for at, (earlier_key, file) in enumerate(self._earlier):
            if earlier_key[0] == event.file and file.device == event.device:
                self._files[key] = file
                del self._earlier[at]
                return
        self.corrections += 1
        file = _File(event.device, event.role, event.process, found=True)
        self._files[key] = file
        if event.role == GpuRole.DEVICE:
            late_ns = max(0, event.at_ns - event.process.start_ns)
            uuid = self.uuid_of.get(event.device)
            self._begin(file, event.process, uuid, ATTACHED, event.at_ns, FOUND, late_ns)

    def _has_ended(self, process: Holder) -> bool:
        return process[:2] in self._ended

    # Intervals ---------------------------------------------------------------------------------

    def _begin(
        self, file: _File, process: Holder, gpu: str | None, kind: int, at_ns: int, source: int,
        uncertainty_ns: int,
    ) -> None:  # fmt: skip
        state = HoldState(
            self._new_id(), process, gpu, file.device, kind, at_ns, None, source, None,
            uncertainty_ns, 0, len(file.holders),
        )  # fmt: skip
        self._replace(file, state)

    def _replace(self, file: _File, state: HoldState) -> None:
        if state.kind == ATTACHED:
            file.attached = state
        else:
            file.held[str(state.gpu)] = state
        self._changed[state.hold] = state

    def _end(
        self, file: _File, state: HoldState, at_ns: int, source: int, uncertainty_ns: int
    ) -> None:
        self._changed[state.hold] = state._replace(
            # The kernel's programs run on several CPUs: a record may overtake another.
            end_ns=max(at_ns, state.start_ns),
            end_source=source,
            end_uncertainty_ns=uncertainty_ns,
        )
        if state.kind == ATTACHED:
            file.attached = None
        else:
            file.held.pop(str(state.gpu), None)


_HANDLERS: Final[dict[int, Callable[[Holds, GpuEvent], None]]] = {
    GpuKind.OPENED: Holds._on_opened,  # noqa: SLF001 -- the class's own table
    GpuKind.REGISTERED: Holds._on_registered,  # noqa: SLF001
    GpuKind.UNREGISTERED: Holds._on_unregistered,  # noqa: SLF001
    GpuKind.RELEASED: Holds._on_released,  # noqa: SLF001
    GpuKind.ENDED: Holds._on_ended,  # noqa: SLF001
    GpuKind.SEEN: Holds._on_seen,  # noqa: SLF001
}
