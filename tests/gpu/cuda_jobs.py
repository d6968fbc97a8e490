"""Tiny CUDA programs over the driver's own library, without a toolkit; one behaviour each.

Each prints one JSON object with times of the boot clock, in nanoseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Spins for a number of clock cycles on one thread: the GPU counts as busy.
PTX = b"""
.version 6.0
.target sm_52
.address_size 64
.visible .entry spin(.param .u64 cycles)
{
    .reg .pred %p;
    .reg .u64 %begin, %now, %wanted;
    ld.param.u64 %wanted, [cycles];
    mov.u64 %begin, %clock64;
again:
    mov.u64 %now, %clock64;
    sub.u64 %now, %now, %begin;
    setp.lt.u64 %p, %now, %wanted;
    @%p bra again;
    ret;
}
\0"""
SPIN_CYCLES = 10_000_000


def now() -> int:
    """CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Cuda:
    """libcuda.so.1 and the few calls of it that a hold needs."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def call(self, name: str, *arguments: object) -> None:
        """Call; raises RuntimeError with the driver's number where it refuses."""
        result = getattr(self._library, name)(*arguments)
        if result:
            message = f"{name} answered {result}"
            raise RuntimeError(message)

    @contextmanager
    def context(self) -> Iterator[ctypes.c_void_p]:
        """Make a context on the first GPU, and destroy it."""
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
        try:
            yield context
        finally:
            self.call("cuCtxDestroy_v2", context)

    def spin(self) -> None:
        """Keep the GPU busy for SPIN_CYCLES and wait."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), PTX)
        self.call("cuModuleGetFunction", ctypes.byref(function), module, b"spin")
        cycles = ctypes.c_uint64(SPIN_CYCLES)
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(cycles))
        self.call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
        self.call("cuCtxSynchronize")


def steps() -> dict[str, int]:
    """Pause between the steps, so that events can be put beside them."""
    cuda, marks = Cuda(), {}
    marks["begin"] = now()
    cuda.call("cuInit", 0)
    time.sleep(0.5)
    marks["initialised"] = now()
    with cuda.context():
        marks["context"] = now()
        time.sleep(0.5)
        memory = ctypes.c_uint64()
        cuda.call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(1 << 20))
        marks["allocated"] = now()
        time.sleep(0.5)
        cuda.spin()
        marks["launched"] = now()
        time.sleep(0.5)
    marks["destroyed"] = now()
    time.sleep(0.5)
    return marks


def context() -> dict[str, int]:
    """Hold a context for about 0.3 s."""
    cuda, marks = Cuda(), {"begin": now()}
    with cuda.context():
        marks["context"] = now()
        time.sleep(0.3)
    marks["end"] = now()
    return marks


def duty() -> dict[str, int]:
    """Be busy for a share of 20 s; argument: percent."""
    share, busy_ns, cuda = int(sys.argv[2]) / 100, 0, Cuda()
    with cuda.context():
        began = now()
        while now() - began < 20 * 10**9:
            mark = now()
            while now() - mark < share * 10**8:
                cuda.spin()
            busy_ns += now() - mark
            time.sleep(max(0.0, 0.1 - (now() - mark) / 1e9))
        return {"busy_ns": busy_ns, "wall_ns": now() - began}


def throughput() -> dict[str, int]:
    """Launch for 5 s and count; on a machine that is otherwise idle."""
    cuda, kernels = Cuda(), 0
    with cuda.context():
        cuda.spin()
        began = now()
        while now() - began < 5 * 10**9:
            cuda.spin()
            kernels += 1
        return {"kernels": kernels, "wall_ns": now() - began}


def orphan() -> dict[str, int]:
    """Leave a sleeper behind that inherits what CUDA opened, and die."""
    cuda = Cuda()
    cuda.call("cuInit", 0)
    device, made = ctypes.c_int(), ctypes.c_void_p()
    cuda.call("cuDeviceGet", ctypes.byref(device), 0)
    cuda.call("cuCtxCreate_v2", ctypes.byref(made), 0, device)
    if os.fork() == 0:
        time.sleep(8)
        os._exit(0)
    sys.stdout.write(json.dumps({"end": now()}))
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
    return {}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
