"""Whence does not record whence: who is left out of capture, and how that is learnt."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from whenced.instances import Instances

if TYPE_CHECKING:
    from whence_proto.v1 import ingest_pb2
    from whenced.loader import Capture

log: Final = logging.getLogger(__name__)


class Exclusion:
    """Leave out this process, every announced whence process, and the collector of the stream.

    Marks are inherited at fork and freed with the process (task storage), so
    no process id that is used again is ever left out by mistake.
    """

    def __init__(self, kernel: Capture, instances: Instances | None = None) -> None:
        self._kernel = kernel
        self._instances = instances or Instances()
        self._left_out: set[int] = set()
        kernel.exclude(os.getpid())
        with suppress(OSError):  # a read-only /run: others are then met through the stream only
            self._instances.announce()
        self.refresh()

    def refresh(self) -> None:
        """Leave out whence processes that announced themselves since."""
        others = set(self._instances.others())
        for pid in others - self._left_out:
            self._kernel.exclude(pid)
        self._left_out = others

    def leave_out_collector(self, welcome: ingest_pb2.Welcome) -> None:
        """The collector of the stream, when it shares this kernel and pid namespace."""
        here = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 (a namespace, not a path)
        if welcome.boot_id == here and welcome.pid_namespace == namespace and welcome.pid:
            self._kernel.exclude(welcome.pid)

    def close(self) -> None:
        """Withdraw from the registry."""
        with suppress(OSError):
            self._instances.withdraw()
