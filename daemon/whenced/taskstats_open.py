"""Opens the socket on which the kernel accounts for each task that ends; run as a program.

Of pyroute2 the daemon needs only this moment: its import costs 20 MB and half a second, so a
process of its own does it and hands the socket over. `python -m whenced.taskstats_open FD`: FD is
a Unix socket, which gets one byte and the descriptor.
"""

from __future__ import annotations

import os
import socket
import sys

from pyroute2.netlink.taskstats import TaskStats


def main() -> int:
    """Bind, ask for the exits of every CPU, hand the socket over."""
    stats = TaskStats()
    stats.bind()
    cpu_count = os.sysconf("SC_NPROCESSORS_CONF")
    stats.register_mask(f"0-{cpu_count - 1}" if cpu_count > 1 else "0")
    with socket.socket(fileno=int(sys.argv[1])) as to:
        # The kernel sends to the socket, whoever holds it (kernel/taskstats.c).
        socket.send_fds(to, [b"1"], [stats.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
