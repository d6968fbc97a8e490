"""The parts of one daemon beside its kernel side, and how they work together until a signal.

Imports everything that is not needed for capturing; __main__.py has that done while the kernel
checks the programs.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from whenced import allocation, priority
from whenced.batching import BatchBuilder, FlushPolicy, Outbox
from whenced.canary_clock import CanaryClock
from whenced.canary_run import CanaryRunner
from whenced.capture import CaptureLoop
from whenced.control import OPEN_IDLE_S, ControlSocket
from whenced.end_desk import EndDesk
from whenced.gpu_metrics import GpuMetrics
from whenced.gpu_watch import GpuWatch, Options
from whenced.greeting import hello
from whenced.hash_client import HashClient, HasherOptions
from whenced.hash_jobs import HashJobs
from whenced.host_names import HostNames
from whenced.inode_probe import InodeProbe
from whenced.intake import boot_ns
from whenced.job_desk import JobDesk
from whenced.job_socket import JobSocket
from whenced.metrics import Metrics, Sources
from whenced.metrics_socket import MetricsSocket
from whenced.notify import Notifier
from whenced.observer import Observer
from whenced.parts import Parts
from whenced.path_scope import PathScope
from whenced.processes import Processes
from whenced.proof import Proof
from whenced.proof_metrics import ProofMetrics
from whenced.resolve import Resolver
from whenced.resume import kept, layout
from whenced.spool import Spool
from whenced.taskstats import open_accounts
from whenced.text import TextStore
from whenced.uplink import Uplink
from whenced.versions import Versions
from whenced.vouch import Voucher
from whenced.vouch import socket_of as vouch_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence_proto.v1.ingest_pb2 import Hello
    from whenced.config import Settings
    from whenced.data_dir import DataDir
    from whenced.journal import Found, Journal
    from whenced.kernel_side import KernelSide

log: Final = logging.getLogger("whenced")
# Objects between two looks for cycles, of which there are few: at Python's own 700 a flood spends
# a quarter of the daemon's time on walking tens of thousands of files that are all in use.
_COLLECT_AFTER: Final = 100_000
_PROVE_AGAIN_S: Final = 5.0
# So many records that wait are a flood: when it is over its memory is given back.
_FLOOD_ROWS: Final = 5_000


def _open_to_callers(voucher: Voucher, data_dir: Path, stack: ExitStack) -> None:
    """Let any process of this host ask for a ticket; capture goes on without."""
    path = vouch_socket(data_dir)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.parent.chmod(0o755)  # a service's umask would close it to those who are to ask
        desk = ControlSocket(path, {"vouch": voucher}, OPEN_IDLE_S, open_to_all=True)
    except OSError as error:
        log.warning("callers cannot be vouched for: %s: %s", path, error.strerror)
        return
    stack.callback(desk.close)


def _job_desk(processes: Processes, stack: ExitStack) -> JobDesk | None:
    """Where programs speak of themselves; capture goes on without."""
    try:
        ear = JobSocket()
    except OSError as error:
        log.warning("programs cannot tag themselves: %s: %s", error.filename, error.strerror)
        return None
    stack.callback(ear.close)
    return JobDesk(ear, processes)


def _state(side: KernelSide, names: HostNames, resolver: Resolver) -> dict[str, Any]:
    """The loop's state of a capture that goes on, else nothing."""
    if side.found is None or side.journal is None:
        return {}
    return kept(side.journal.state_path(side.found.generation), names, resolver)


def _hasher(settings: Settings, place: DataDir, probe_fds: tuple[int, int]) -> HashClient:
    return HashClient(
        HasherOptions(
            place.stat_cache_of(settings.hasher_user),
            settings.hash_share,
            probe_fds=probe_fds,
            user=settings.hasher_user,
        )
    )


class Daemon:
    """The parts of one daemon; `stack` takes them apart in the reverse order."""

    def __init__(
        self, settings: Settings, place: DataDir, side: KernelSide, stack: ExitStack
    ) -> None:
        self.notifier = Notifier()
        self.side = side
        self._is_trim_owed = False
        self.library, self.kernel, self.exclusion = side.library, side.capture, side.exclusion
        probe_fds = (self.kernel.probe_fd, self.kernel.map_fd("probes"))
        hasher = _hasher(settings, place, probe_fds)
        stack.callback(hasher.close)
        epoch, started_ns = side.identity.epoch, side.identity.started_ns
        limits = settings.spool_limit_bytes, settings.spool_memory_bytes
        self.spool = Spool(place.spool, epoch, *limits)
        stack.callback(self.spool.close)
        names, resolver = HostNames(), Resolver(InodeProbe(*probe_fds))
        state = _state(side, names, resolver)
        self.processes: Processes = state["observer"].processes if state else Processes(names)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        voucher = Voucher(self.processes, settings.data_dir, names.user, boot)
        enforce = settings.policy.enforce
        greeting = hello(side.plan, started_ns, vouch=voucher.greeting, enforce=enforce)
        self.uplink = self._uplink(settings, greeting, boot)
        self.metrics = Metrics(Sources(self.spool.stats, self.uplink.state))
        stack.callback(self.metrics.close)
        self.versions: Versions = state.get("versions") or Versions(
            side.identity.number,
            HashJobs(os.stat("/proc/self/ns/mnt").st_ino),  # noqa: PTH116 (a namespace, not a path)
        )
        observer: Observer = state.get("observer") or Observer(
            self.processes,
            self.versions,
            resolver,
            PathScope.of(settings.scope.include_paths, settings.scope.exclude_paths),
        )
        builder = BatchBuilder(os.uname().nodename, greeting().boot_id, epoch)
        outbox = Outbox(builder, self.spool, started_ns)
        self.hasher = hasher
        self.gpus = self._gpu_watch(settings, place, stack, greeting().boot_id)
        whole_host = not (settings.scope.cgroups or settings.scope.uids)
        self.proof: Proof = state.get("proof") or Proof(
            self.kernel, self.processes, started_ns, whole_host=whole_host
        )
        self.proof.kernel = self.kernel
        self.loop = CaptureLoop(
            Parts(
                self.kernel, state.get("texts") or TextStore(), observer, self.versions, hasher,
                builder, outbox, state.get("policy") or FlushPolicy(), self.metrics, self._tidy,
                self.proof, self.gpus, _job_desk(self.processes, stack), side.journal,
                side.left_out, self._forget,
            ),
            side.intake,
        )  # fmt: skip
        if side.journal is not None:
            self._go_on(side.journal, side.found, state)
        self._keep_proving(settings, place)
        control = ControlSocket(place.socket, {"canary": self.canary, "status": self.status})
        stack.callback(control.close)
        _open_to_callers(voucher, settings.data_dir, stack)

    def _go_on(self, journal: Journal, found: Found | None, state: dict[str, Any]) -> None:
        """Go through what the daemon before this one had begun; the kernel's side waits for it."""
        if found is None:
            journal.told_layout(layout())
            return
        made = [batch for step in found.steps if step.flush for batch in step.flush.batches]
        self.spool.go_on([*state.get("unwritten", ()), *made])
        self.loop.go_on(found, state)
        log.info("went on after %d steps and %d batches", len(found.steps), len(made))
        found.steps.clear()

    def _uplink(self, settings: Settings, greeting: Callable[[], Hello], boot_id: str) -> Uplink:
        """Make the stream to the collector, and the desk that takes its orders."""
        uplink = Uplink(settings.address, greeting, self.spool, self.exclusion.leave_out_collector)
        desk = EndDesk(self.processes, boot_id, uplink.report, allowed=settings.policy.enforce)
        uplink.on_order = desk.take
        return uplink

    def _listen(self) -> None:
        """Beside the start, which does not wait for it: the kernel's accounts of tasks."""
        accounts = open_accounts()
        if isinstance(accounts, str):
            log.warning("%s; losses that only it would find stay unknown", accounts)
        self.proof.listen(accounts, boot_ns())

    def _keep_proving(self, settings: Settings, place: DataDir) -> None:
        self.canary = CanaryRunner(
            self.kernel, self.loop, place.daemon / "canary", settings.scope.cgroups
        )
        self.clock = CanaryClock(self.canary)
        self.metrics.register(ProofMetrics(self.proof.state, self.clock.state))

    def _gpu_watch(
        self, settings: Settings, place: DataDir, stack: ExitStack, boot_id: str
    ) -> GpuWatch | None:
        """Watch GPUs; without any this is a look at /proc/devices now and then."""
        if not settings.gpu.enabled:
            return None
        options = Options(
            settings.gpu.stand_ins, settings.gpu.nvml, place.daemon / "gpu_holds.json", boot_id
        )
        watch = GpuWatch(self.library, self.kernel, options, boot_ns)
        self.metrics.register(GpuMetrics(watch))
        watch.start()
        stack.callback(watch.close)
        return watch

    def _tidy(self, now_ns: int) -> None:
        """About once a second."""
        if self.notifier.watchdog_s is not None:
            self.notifier.tell("WATCHDOG=1")
        self.exclusion.refresh()
        if self.side.intake.is_deserted:
            self._give_up()
        self._forget(now_ns, self.loop.settled_ns)
        if self.loop.held_rows > _FLOOD_ROWS:
            self._is_trim_owed = True
        elif self._is_trim_owed:
            allocation.trim()
            self._is_trim_owed = False

    def _give_up(self) -> NoReturn:
        """Begin anew: what happened since the programs fell asleep is told as a gap."""
        log.error("nothing was taken from the programs for a minute: beginning anew")
        self.kernel.end()
        os._exit(1)

    def _forget(self, now_ns: int, settled_ns: int) -> None:
        for process in self.processes.forget_ended(now_ns, settled_ns):
            self.versions.out.forget_process(process)

    def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer {"do": "status"}."""
        counters = {
            name: dict(zip(("attempted", "stored", "lost"), numbers, strict=True))
            for name, numbers in self.kernel.counts().items()
        }
        return {
            "capturing": True,
            "started_ms": self.side.wait_ms,
            "counters": counters,
            "proof": self.proof.state(),
            "canary": self.clock.state(),
            "processes": len(self.processes),
            "held_records": self.loop.held_rows,
            "hash_jobs": self.hasher.outstanding,
            "spool": asdict(self.spool.stats()),
            "uplink": asdict(self.uplink.state()),
            "gpu": self.gpus.status()
            if self.gpus
            else {"accounting": "off", "reason": "turned off by the settings"},
        }

    def run(self, settings: Settings) -> None:
        """Capture until a signal."""
        # A stop is most often the first half of a restart; a person at a terminal means the end.
        signal.signal(signal.SIGTERM, lambda *_: self._stop(is_last=self.side.journal is None))
        signal.signal(signal.SIGINT, lambda *_: self._stop(is_last=True))
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        priority.set_nice(priority.PATIENT)  # and of the threads that begin from here
        with ExitStack() as stack:
            self._serve_metrics(settings, stack)
            self.uplink.start()
            later_ns = boot_ns() - self.side.identity.started_ns
            log.info("all parts work %d ms after the programs", later_ns // 1_000_000)
            threading.Thread(target=self._prove, name="proof", daemon=True).start()
            threading.Thread(target=self._listen, name="accounts", daemon=True).start()
            self.clock.start()
            stack.callback(self.clock.stop)
            self.loop.run()
            self.notifier.tell("STOPPING=1")
            self.uplink.stop()
        if self.loop.is_last and self.side.journal is not None:
            self.kernel.end()
            self.side.journal.remove()

    def _stop(self, *, is_last: bool) -> None:
        self.loop.is_last = is_last
        self.loop.stop()

    def _serve_metrics(self, settings: Settings, stack: ExitStack) -> None:
        if settings.metrics_socket is not None:
            page = MetricsSocket(settings.metrics_socket, self.metrics.page)
            stack.callback(page.close)
        elif settings.metrics_address is not None:
            self.metrics.serve(*settings.metrics_address)

    def _prove(self) -> None:
        """As a service: ready is what has seen its canary. Asked again until it has."""
        while self.notifier.is_heard:
            missing = self.canary({})["missing"]
            if not missing:
                self.notifier.tell("READY=1", "STATUS=capturing, canary seen")
                return
            log.error("the canary was not seen: %s missing; trying again", missing)
            time.sleep(_PROVE_AGAIN_S)
