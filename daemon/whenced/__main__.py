"""The daemon's command: flags, signals, and the only place that builds the parts."""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whenced import config, host, plan, priority
from whenced.batching import BatchBuilder, FlushPolicy, Outbox
from whenced.canary_run import CanaryRunner
from whenced.capture import CaptureLoop, Parts, boot_ns
from whenced.control import OPEN_IDLE_S, ControlSocket
from whenced.data_dir import claimed
from whenced.errors import ConfigError, LoadFailed, NoBtf, NotRoot, WhencedError, exit_code
from whenced.exclusion import Exclusion
from whenced.gpu_metrics import GpuMetrics
from whenced.gpu_watch import GpuWatch, Options
from whenced.greeting import hello
from whenced.hash_client import HashClient, HasherOptions
from whenced.hash_jobs import HashJobs
from whenced.host_names import HostNames
from whenced.inode_probe import InodeProbe
from whenced.libbpf import BpfError, Libbpf
from whenced.loader import Capture
from whenced.metrics import Metrics, Sources
from whenced.metrics_socket import MetricsSocket
from whenced.notify import Notifier
from whenced.observer import Observer
from whenced.path_scope import PathScope
from whenced.processes import Processes
from whenced.proof import Proof
from whenced.resolve import Resolver
from whenced.spool import Spool
from whenced.text import TextStore
from whenced.uplink import Uplink
from whenced.versions import Versions
from whenced.vouch import Voucher
from whenced.vouch import socket_of as vouch_socket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whenced.config import Settings
    from whenced.data_dir import DataDir

log: Final = logging.getLogger("whenced")
_PROVE_AGAIN_S: Final = 5.0


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="whenced",
        description="Watch the processes of this host; tell the collector what they did.",
        epilog="example: whenced --data-dir /var/lib/whence --address 127.0.0.1:7420",
    )
    config.add_flags(parser)
    parser.add_argument("--check", action="store_true", help="test this host, then exit")
    parser.add_argument("--json", action="store_true", help="with --check: one JSON document")
    return parser.parse_args(argv)


def _check(as_json: bool) -> int:
    """Print every ability with its remedy; 0 when capture can start."""
    facts = host.probe()
    made = plan.make(facts)
    ok = not made.blockers
    if as_json:
        shown = {key: _plain(value) for key, value in asdict(facts).items()}
        abilities = [asdict(ability) for ability in made.abilities]
        print(json.dumps({"ok": ok, "facts": shown, "abilities": abilities}))
        return 0 if ok else 1
    for ability in made.abilities:
        mark = "ok  " if ability.ok else "FAIL" if ability.required else "miss"
        print(f"{mark} {ability.name}: {ability.detail}")
        if not ability.ok:
            print(f"     {ability.remedy}")
    return 0 if ok else 1


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _plan_for(settings: Settings) -> plan.Plan:
    """Probe and decide. Raises NotRoot, ConfigError, NoBtf or LoadFailed with the remedy."""
    if os.geteuid() != 0:
        raise NotRoot("whenced needs root to load its programs: run it with sudo")
    for group in settings.scope.cgroups:
        if not (group / "cgroup.controllers").is_file():
            raise ConfigError(
                f"{group} is no control group of the version 2 hierarchy: name a directory of it,"
                " or leave the setting out to record the whole host"
            )
    made = plan.make(
        host.probe(), [str(path) for path in settings.scope.cgroups], settings.scope.uids
    )
    for blocker in made.blockers:
        kind = NoBtf if blocker.name == "btf" else LoadFailed
        raise kind(f"this host lacks {blocker.name} ({blocker.detail}): {blocker.remedy}")
    return made


def _open_to_callers(voucher: Voucher, data_dir: Path, stack: ExitStack) -> None:
    """Let any process of this host ask for a ticket; capture goes on without."""
    path = vouch_socket(data_dir)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        desk = ControlSocket(path, {"vouch": voucher}, OPEN_IDLE_S, open_to_all=True)
    except OSError as error:
        log.warning("callers cannot be vouched for: %s: %s", path, error.strerror)
        return
    stack.callback(desk.close)


class Daemon:
    """The parts of one daemon; `stack` takes them apart in the reverse order."""

    def __init__(self, settings: Settings, place: DataDir, stack: ExitStack) -> None:
        self.started = self.ready = time.monotonic()
        self.notifier = Notifier()
        made = _plan_for(settings)
        self.library = library = Libbpf()
        self.kernel = stack.enter_context(
            Capture(library, made, settings.event_ring_bytes, settings.text_ring_bytes)
        )
        self.exclusion = Exclusion(self.kernel)
        stack.callback(self.exclusion.close)
        self.kernel.attach()
        self.capture_started_ns = boot_ns()
        self._build(settings, place, stack, made)
        self.kernel.walk(plan.ITERATORS)

    def _build(self, settings: Settings, place: DataDir, stack: ExitStack, made: plan.Plan) -> None:
        probe_fds = (self.kernel.probe_fd, self.kernel.map_fd("probes"))
        hasher = HashClient(
            HasherOptions(
                place.stat_cache_of(settings.hasher_user),
                settings.hash_share,
                probe_fds=probe_fds,
                user=settings.hasher_user,
            )
        )
        stack.callback(hasher.close)
        epoch = secrets.token_hex(16)
        self.spool = Spool(place.spool, epoch, settings.spool_limit_bytes)
        stack.callback(self.spool.close)
        names = HostNames()
        self.processes = Processes(names)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        voucher = Voucher(self.processes, settings.data_dir, names.user, boot)
        greeting = hello(made, self.capture_started_ns, vouch=voucher.greeting)
        self.uplink = Uplink(
            settings.address, greeting, self.spool, self.exclusion.leave_out_collector
        )
        self.metrics = Metrics(Sources(self.spool.stats, self.uplink.state))
        stack.callback(self.metrics.close)
        self.versions = Versions(
            self.capture_started_ns // 1_000_000_000,
            HashJobs(os.stat("/proc/self/ns/mnt").st_ino),  # noqa: PTH116 (a namespace, not a path)
        )
        observer = Observer(
            self.processes,
            self.versions,
            Resolver(InodeProbe(*probe_fds)),
            PathScope.of(settings.scope.include_paths, settings.scope.exclude_paths),
        )
        builder = BatchBuilder(os.uname().nodename, greeting().boot_id, epoch)
        outbox = Outbox(builder, self.spool, self.capture_started_ns)
        self.hasher = hasher
        self.gpus = self._gpu_watch(settings, place, stack, greeting().boot_id)
        whole_host = not (settings.scope.cgroups or settings.scope.uids)
        self.proof = Proof(
            self.kernel, self.processes, self.capture_started_ns, whole_host=whole_host
        )
        self.loop = CaptureLoop(
            Parts(
                self.kernel, TextStore(), observer, self.versions, hasher, builder, outbox,
                FlushPolicy(), self.metrics, self._tidy, self.proof, self.gpus,
            )
        )  # fmt: skip
        self.canary = CanaryRunner(
            self.kernel, self.loop, place.daemon / "canary", settings.scope.cgroups
        )
        control = ControlSocket(place.socket, {"canary": self.canary, "status": self.status})
        stack.callback(control.close)
        _open_to_callers(voucher, settings.data_dir, stack)

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
        for process in self.processes.forget_ended(now_ns):
            self.versions.out.forget_process(process)

    def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer {"do": "status"}."""
        counters = {
            name: dict(zip(("attempted", "stored", "lost"), numbers, strict=True))
            for name, numbers in self.kernel.counts().items()
        }
        return {
            "capturing": True,
            "started_ms": round((self.ready - self.started) * 1000),
            "counters": counters,
            "proof": self.proof.state(),
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.loop.stop())
        priority.set_nice(priority.PATIENT)  # and of the threads that begin from here
        with ExitStack() as stack:
            self._serve_metrics(settings, stack)
            self.uplink.start()
            self.ready = time.monotonic()
            log.info("capturing after %d ms", (self.ready - self.started) * 1000)
            threading.Thread(target=self._prove, name="proof", daemon=True).start()
            self.loop.run()
            self.notifier.tell("STOPPING=1")
            self.uplink.stop()

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


def _run(settings: Settings) -> None:
    """Raises WhencedError for everything that a user can mend."""
    if os.geteuid() != 0:
        raise NotRoot("whenced needs root to load its programs: run it with sudo")
    with claimed(settings.data_dir) as place, ExitStack() as stack:
        try:
            daemon = Daemon(settings, place, stack)
        except BpfError as error:
            raise LoadFailed(f"the kernel refused the capture programs: {error}") from error
        daemon.run(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `whenced`; returns the exit status."""
    flags = _flags(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        if flags.check:
            config.load(os.environ, vars(flags))
            return _check(flags.json)
        _run(config.load(os.environ, vars(flags)))
    except WhencedError as error:
        print(f"whenced: {error}", file=sys.stderr)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
