"""What the daemon says of itself when a stream opens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from whence_proto.v1 import ingest_pb2
from whenced.host_facts import host_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from whenced.plan import Plan

WIRE_VERSION: Final = 1


def hello(
    plan: Plan,
    capture_started_ns: int,
    root: Path = Path("/"),
    vouch: Callable[[], tuple[bytes, str]] | None = None,
    *,
    enforce: bool = False,
) -> Callable[[], ingest_pb2.Hello]:
    """Return what makes a Hello at each connection: the clock offset may have moved.

    ``vouch`` gives the key of tickets and the token of the node; the token may be new each time.
    ``enforce``: this host obeys orders to end runs.
    """
    machine_id = ""
    with suppress(OSError):
        machine_id = (root / "etc/machine-id").read_text(encoding="ascii").strip()
    boot_id = (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    uname = os.uname()
    facts = host_facts(root)

    def make() -> ingest_pb2.Hello:
        made = ingest_pb2.Hello(
            host=uname.nodename,
            machine_id=machine_id,
            boot_id=boot_id,
            daemon_version=metadata.version("whence"),
            kernel=uname.release,
            back_end="tp_btf",
            capabilities=plan.present,
            missing_capabilities=plan.missing,
            wire_version=WIRE_VERSION,
            capture_started_ns=capture_started_ns,
            wall_offset_ns=time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            facts=facts,
            obeys_end_orders=enforce,
        )
        if vouch is not None:
            made.vouch_key, made.node_token = vouch()
        return made

    return make
