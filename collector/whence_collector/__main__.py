"""The program whence-collector: flags, signals, files about itself; wires the parts together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from whence_collector import config, status
from whence_collector.ancestry import AncestryFamily
from whence_collector.chores import CHORES
from whence_collector.derive import Deriver
from whence_collector.errors import CollectorError, DataDirectoryUnusable
from whence_collector.notify import Notifier
from whence_collector.query import QueryService
from whence_collector.request_family import RequestFamily
from whence_collector.server import Parts, serve
from whence_collector.spend_family import SpendFamily

LOG = logging.getLogger("whence")
START_TICKS_FIELD = 19  # of /proc/self/stat, counted after the command name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the collector until SIGTERM or SIGINT; return the exit code."""
    _log_to_standard_error()
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        if words and words[0] in CHORES:
            CHORES[words[0]](words[1:])
            return 0
        settings = config.parse(words)
        if settings.only_check:
            print(f"ok: serves on {settings.address}, keeps its data in {settings.data_dir}")
            return 0
        with _announced(settings.instances_dir / str(os.getpid())):
            asyncio.run(_serve(settings))
    except CollectorError as error:
        print(f"whence-collector: {error}", file=sys.stderr)
        return status.exit_code(error)
    return 0


async def _serve(settings: config.Config) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def ready(address: str) -> None:
        # Not before the database is ours: the file may still be another collector's.
        _write_pid(settings.pid_file)
        print(f"serving on {address}", file=sys.stderr, flush=True)
        notifier.tell("READY=1", f"STATUS=serves on {address}")

    notifier = Notifier()
    watching = asyncio.create_task(notifier.keep_telling())
    ancestry = AncestryFamily()
    requests = RequestFamily(settings.database.parent, webhook=settings.webhook)
    spend = SpendFamily()
    parts = Parts(
        partial(
            Deriver,
            launchers=settings.launchers,
            index_path=settings.database.with_name("edges.index"),
        ),
        QueryService,
        services=(requests.add, ancestry.add, spend.add),
        chores=(requests.add_chores,),
        greeted=requests.vouching.greeted,
        orders=requests.orders,
        metrics=(requests.metrics, spend.metrics, ancestry.metrics),
        tasks=(requests.run, ancestry.run),
    )
    await serve(settings, parts, stopping, ready)
    notifier.tell("STOPPING=1")
    watching.cancel()
    settings.pid_file.unlink(missing_ok=True)


@contextmanager
def _announced(instance: Path) -> Iterator[None]:
    """Tell daemons of this host not to record this process."""
    try:
        instance.parent.mkdir(parents=True, exist_ok=True)
        instance.write_text(f"{_started_ns()}\n", encoding="ascii")
    except OSError as error:  # not root: then no daemon of this host is ours either
        LOG.warning("not announced to daemons: %s: %s", instance, error.strerror)
    try:
        yield
    finally:
        instance.unlink(missing_ok=True)


def _write_pid(path: Path) -> None:
    """Leave the process id for whoever wants to stop this collector."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise DataDirectoryUnusable(
            f"{path} cannot be written ({error.strerror}); choose another --data-dir"
        ) from error


def _started_ns() -> int:
    """Return the start of this process in nanoseconds of the boot clock, to a clock tick."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2]
    ticks = int(after_name.split()[START_TICKS_FIELD])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _log_to_standard_error() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="time=%(asctime)s level=%(levelname)s from=%(name)s %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
