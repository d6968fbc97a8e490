"""What programs do with GPU nodes, one behaviour each; run as a program inside the scope.

Prints "mark NANOSECONDS" (boot clock) where the last reference went, as far as the program can say.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import mmap
import os
import socket
import subprocess
import sys
import threading
import time

UUID = bytes(range(16))
REGISTER = 37
LIBC = ctypes.CDLL(None, use_errno=True)


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def register(fd: int) -> None:
    try:
        fcntl.ioctl(fd, REGISTER, UUID + bytes(48))
    except OSError:
        return  # the stand-in knows no such request; the probe counts it all the same


def opened() -> int:
    fd = os.open("uvm", os.O_RDWR)
    register(fd)
    return fd


def mark() -> None:
    sys.stdout.write(f"mark {now()}\n")
    sys.stdout.flush()


def close_it() -> None:
    fd = opened()
    time.sleep(0.03)
    os.close(fd)
    mark()


def exit_without_close() -> None:
    opened()
    mark()


def killed() -> None:
    opened()
    mark()
    os.kill(os.getpid(), 9)


def dup_then_close() -> None:
    fd = opened()
    other = os.dup(fd)
    os.close(fd)
    time.sleep(0.05)
    os.close(other)
    mark()
    time.sleep(0.05)


def dup2_over() -> None:
    fd = opened()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, fd)
    mark()
    time.sleep(0.05)


def fork_outlives() -> None:
    opened()
    if os.fork() == 0:
        time.sleep(0.3)
        mark()
        os._exit(0)


def close_on_exec() -> None:
    opened()
    mark()
    os.execvp("sleep", ["sleep", "0.05"])  # noqa: S606 -- an exec is what is tried


def exec_keeps() -> None:
    os.set_inheritable(opened(), True)
    os.execvp("sleep", ["sleep", "0.2"])  # noqa: S606 -- an exec is what is tried


def close_range() -> None:
    fd = opened()
    os.closerange(fd, fd + 10)
    mark()
    time.sleep(0.05)


def passed_on() -> None:
    """Sent over a socket to another process; the sender closes and ends."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
        received = array.array("i", ancillary[0][2])
        time.sleep(0.2)
        os.close(received[0])
        mark()
        os._exit(0)
    fd = opened()
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.close(fd)


def openat2() -> None:
    how = (ctypes.c_uint64 * 3)(os.O_RDWR, 0, 0)
    fd = LIBC.syscall(437, -100, b"uvm", ctypes.byref(how), 24)
    register(fd)
    os.close(fd)
    mark()


def renamed() -> None:
    os.rename("uvm", "something")  # noqa: PTH104 -- started with -S, as light as can be
    fd = os.open("something", os.O_RDWR)
    register(fd)
    os.close(fd)
    mark()


def threads() -> None:
    def work() -> None:
        for _ in range(25):
            os.close(opened())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()


def mapped() -> None:
    """A mapping keeps the file when every descriptor is closed."""
    fd = os.open("zero", os.O_RDWR)
    area = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)
    os.close(fd)
    time.sleep(0.1)
    area.close()
    mark()
    time.sleep(0.05)


def reparented() -> None:
    subprocess.Popen(["sh", "-c", "(sleep 0.2; exec true) &"], pass_fds=[opened()])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
