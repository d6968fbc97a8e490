"""The command `whence-uplink`: settings, signals, and the parts of the relay."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from whenced import relay_config, relay_metrics
from whenced.errors import ConfigError, DataDirUnusable, WhencedError, exit_code
from whenced.instances import Instances
from whenced.notify import Notifier
from whenced.relay import Relay, credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whenced.relay_config import RelaySettings

log: Final = logging.getLogger("whenced.relay")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `whence-uplink`; returns the exit status."""
    flags = relay_config.parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="level=%(levelname)s from=%(name)s %(message)s")
    try:
        settings = relay_config.load(os.environ, vars(flags))
        _check_identity(settings)
        if flags.check:
            print(f"ok: delivers to {settings.address}, listens at {settings.listen}")
            return 0
        asyncio.run(_serve(settings))
    except WhencedError as error:
        print(f"whence-uplink: {error}", file=sys.stderr)
        return exit_code(error)
    return 0


def _check_identity(settings: RelaySettings) -> None:
    """Raise ConfigError now rather than at each attempt to connect."""
    if settings.tls is None:
        return
    try:
        credentials(settings.tls)
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror}): "
            "enrol this host with `whence-collector enroll HOST` and copy the files here"
        ) from error


async def _serve(settings: RelaySettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    relay, notifier = Relay(settings), Notifier()
    with ExitStack() as stack:
        _announce(stack)
        _serve_metrics(settings, relay, stack)
        watching = asyncio.create_task(_keep_telling(notifier))
        stack.callback(watching.cancel)
        os.umask(0o007)  # the socket is made by gRPC; nobody may connect before its mode is set
        try:
            await relay.serve(stopping, lambda: _ready(notifier, settings))
        except (OSError, RuntimeError) as error:
            raise DataDirUnusable(
                f"cannot listen at {settings.listen} ({error}): choose another --listen, "
                "in a directory that this user can write"
            ) from error
        notifier.tell("STOPPING=1")


def _ready(notifier: Notifier, settings: RelaySettings) -> None:
    log.info("passing streams from %s to %s", settings.listen, settings.address)
    notifier.tell("READY=1", f"STATUS=delivers to {settings.address}")


async def _keep_telling(notifier: Notifier) -> None:
    """Tell the manager that the event loop turns."""
    while notifier.watchdog_s is not None:
        notifier.tell("WATCHDOG=1")
        await asyncio.sleep(notifier.watchdog_s)


def _announce(stack: ExitStack) -> None:
    """Tell daemons of this host not to record this process."""
    instances = Instances()
    with suppress(OSError):  # a registry that is not ours: then whenced is not on this host either
        instances.announce()
        stack.callback(instances.withdraw)


def _serve_metrics(settings: RelaySettings, relay: Relay, stack: ExitStack) -> None:
    if settings.metrics_address is None:
        return
    page = relay_metrics.Page(settings.daemon_metrics, relay.traffic)
    host, port = settings.metrics_address
    try:
        server = relay_metrics.serve(page, host, port)
    except OSError as error:  # lineage is worth more than its metrics
        log.warning("no metrics on %s:%d (%s): set metrics_port", host, port, error.strerror)
        return
    stack.callback(server.server_close)
    stack.callback(server.shutdown)


if __name__ == "__main__":
    sys.exit(main())
