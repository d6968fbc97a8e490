"""What NVML tells of GPUs, through NVIDIA's own binding: every call may fail, and each alone.

A call that fails gives None (not known) and is counted by its name; a GPU that is lost leaves the
others as they are; a driver that was unloaded or reloaded is opened anew. May not keep history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pynvml

from whenced.gpu_devices import Gpu
from whenced.gpu_reading import GpuProcess, NvmlGone, Reading

# The driver went away beneath us, or was replaced: every handle is void.
_GONE: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
# What a healthy GPU answers to a question that does not concern it.
_QUIET: Final = frozenset(
    {
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_TIMEOUT,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_SUCCESS,  # raised by the binding for "success, and no processes"
    }
)
_NOT_AVAILABLE: Final = 0xFFFFFFFFFFFFFFFF
_NO_INSTANCE: Final = 0xFFFFFFFF
_PERCENT: Final = 100
_MIG_MEMORY_SLICES: Final = 8
_GPM_METRICS: Final = (pynvml.NVML_GPM_METRIC_SM_UTIL, pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL)


class Nvml:
    """An open NVML. Not safe for threads: one thread asks."""

    def __init__(self) -> None:
        """Open the library. Raises NvmlGone with the reason where there is none."""
        self.errors: Counter[str] = Counter()  # by call
        self.lost: set[str] = set()  # UUIDs that fell off the bus
        self._handles: dict[str, Any] = {}
        self._instances: dict[str, dict[str, Any]] = {}  # GPU -> MIG UUID -> handle
        self._gpm: dict[str, Any] = {}  # the sample before, by GPU
        self._seen_us: dict[str, int] = {}
        self._events: Any = None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlGone(str(error)) from error

    def close(self) -> None:
        """Let go of the driver."""
        self._ask(pynvml.nvmlShutdown)

    def gpus(self) -> list[Gpu]:
        """Return every GPU and MIG instance, whatever can be known of each.

        Raises NvmlGone.
        """
        count = self._ask(pynvml.nvmlDeviceGetCount) or 0
        driver = self._ask(pynvml.nvmlSystemGetDriverVersion)
        found: list[Gpu] = []
        self._handles, self._instances = {}, {}
        for index in range(count):
            handle = self._ask(pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = handle and self._ask(pynvml.nvmlDeviceGetUUID, handle)
            if not uuid:
                continue  # a GPU without its name is nobody's: the error is counted
            self._handles[uuid] = handle
            found.append(self._described(index, uuid, handle, driver))
            found += self._mig_instances(uuid, handle, driver)
        self._watch_faults()
        return found

    def read(self, uuid: str) -> Reading:
        """Look at a GPU. Raises NvmlGone; a lost GPU gives a Reading of unknowns."""
        handle = self._handles.get(uuid)
        if handle is None or uuid in self.lost:
            return Reading()
        rates = self._ask(pynvml.nvmlDeviceGetUtilizationRates, handle, gpu=uuid)
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo, handle, gpu=uuid)
        energy = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle, gpu=uuid)
        sm_percent, tensor_percent = self._gpm_since(uuid, handle)
        processes = self._processes(uuid, handle)
        return Reading(
            busy_percent=_percent(rates.gpu) if rates else None,
            sm_percent=sm_percent,
            tensor_percent=tensor_percent,
            energy_mj=energy,
            memory_used_bytes=int(memory.used) if memory else None,
            processes=processes,
            sm_percent_of=self._work_of(uuid, handle) if processes and len(processes) > 1 else {},
        )

    def faults(self) -> list[tuple[str, int]]:
        """Return (GPU, Xid) of the faults since the last call. Raises NvmlGone."""
        found: list[tuple[str, int]] = []
        while self._events is not None:
            data = self._ask(pynvml.nvmlEventSetWait_v2, self._events, 0)
            if data is None:
                break
            uuid = self._ask(pynvml.nvmlDeviceGetUUID, data.device)
            if uuid:
                found.append((uuid, int(data.eventData)))
        return found

    # One GPU ----------------------------------------------------------------------------------

    def _described(self, index: int, uuid: str, handle: Any, driver: str | None) -> Gpu:
        pci = self._ask(pynvml.nvmlDeviceGetPciInfo_v3, handle, gpu=uuid)
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo, handle, gpu=uuid)
        return Gpu(
            uuid,
            model=self._ask(pynvml.nvmlDeviceGetName, handle, gpu=uuid),
            minor=self._ask(pynvml.nvmlDeviceGetMinorNumber, handle, gpu=uuid),
            nvml_index=index,
            pci=_text(pci.busId) if pci else None,
            driver=driver,
            memory_bytes=int(memory.total) if memory else None,
        )

    def _mig_instances(self, uuid: str, handle: Any, driver: str | None) -> list[Gpu]:
        mode = self._ask(pynvml.nvmlDeviceGetMigMode, handle, gpu=uuid)
        if not mode or not mode[0]:
            return []
        most = self._ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle, gpu=uuid)
        found = []
        for index in range(most or 0):
            instance = self._ask(
                pynvml.nvmlDeviceGetMigDeviceHandleByIndex,
                handle,
                index,
                gpu=uuid,
            )
            name = instance and self._ask(pynvml.nvmlDeviceGetUUID, instance)
            if name:
                self._instances.setdefault(uuid, {})[name] = instance
                found.append(self._instance(name, uuid, instance, driver))
        return found

    def _instance(self, name: str, parent: str, instance: Any, driver: str | None) -> Gpu:
        of = self._ask(pynvml.nvmlDeviceGetAttributes_v2, instance)
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo, self._handles[parent], gpu=parent)
        slices = None
        if of and memory:
            share = (int(of.memorySizeMB) << 20) * _MIG_MEMORY_SLICES / int(memory.total)
            slices = max(1, min(_MIG_MEMORY_SLICES, round(share)))
        return Gpu(
            name,
            model=self._ask(pynvml.nvmlDeviceGetName, instance),
            driver=driver,
            memory_bytes=int(of.memorySizeMB) << 20 if of else None,
            mig_parent=parent,
            compute_slices=int(of.computeInstanceSliceCount) if of else None,
            memory_slices=slices,
        )

    def _gpm_since(self, uuid: str, handle: Any) -> tuple[float | None, float | None]:
        """SM and tensor activity between the look before and this one, on Hopper and later."""
        support = self._ask(pynvml.nvmlGpmQueryDeviceSupport, handle, gpu=uuid)
        if not support or not support.isSupportedDevice:
            return None, None
        sample = self._ask(pynvml.nvmlGpmSampleAlloc)
        if sample is None:
            return None, None
        taken = self._ask(pynvml.nvmlGpmSampleGet, handle, sample, gpu=uuid)
        before, self._gpm[uuid] = self._gpm.get(uuid), sample if taken is not None else None
        if before is None or taken is None:
            return None, None
        wanted = pynvml.c_nvmlGpmMetricsGet_t()
        wanted.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        wanted.numMetrics = len(_GPM_METRICS)
        wanted.sample1, wanted.sample2 = before, sample
        for at, metric in enumerate(_GPM_METRICS):
            wanted.metrics[at].metricId = metric
        found = self._ask(pynvml.nvmlGpmMetricsGet, wanted, gpu=uuid)
        self._ask(pynvml.nvmlGpmSampleFree, before)
        if found is None:
            return None, None
        return _gpm_value(found.metrics[0]), _gpm_value(found.metrics[1])

    def _processes(self, uuid: str, handle: Any) -> tuple[GpuProcess, ...] | None:
        """Return compute processes of a GPU, or of its MIG instances; None: not known."""
        found: list[GpuProcess] = []
        places = self._instances.get(uuid) or {uuid: handle}
        known = False
        for name, place in places.items():
            shared = (
                self._ask(pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, place, gpu=uuid) or []
            )
            plain = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, place, gpu=uuid)
            known = known or plain is not None
            through_mps = {int(each.pid) for each in shared}
            for each in (*(plain or []), *shared):
                pid = int(each.pid)
                # The driver of 525 to 535 fills more rows than it has: pid 0 is none.
                if pid and not any(other.pid == pid and other.gpu == name for other in found):
                    memory = _amount(each.usedGpuMemory)
                    found.append(GpuProcess(pid, name, memory, pid in through_mps))
        return tuple(found) if known else None

    def _work_of(self, uuid: str, handle: Any) -> dict[int, int]:
        """Mean share of the SMs of each process since the look before, in percent."""
        since_us = self._seen_us.get(uuid, 0)
        samples = self._ask(pynvml.nvmlDeviceGetProcessUtilization, handle, since_us, gpu=uuid)
        work: dict[int, list[int]] = {}
        for sample in samples or []:
            # 100 rows may be filled where there are fewer; percentages of 37,100 were seen.
            if sample.timeStamp <= since_us or sample.smUtil > _PERCENT or not sample.pid:
                continue
            work.setdefault(int(sample.pid), []).append(int(sample.smUtil))
            self._seen_us[uuid] = max(self._seen_us.get(uuid, 0), int(sample.timeStamp))
        return {pid: sum(values) // len(values) for pid, values in work.items()}

    def _watch_faults(self) -> None:
        self._events = self._ask(pynvml.nvmlEventSetCreate)
        if self._events is None:
            return
        for uuid, handle in self._handles.items():
            self._ask(
                pynvml.nvmlDeviceRegisterEvents,
                handle,
                pynvml.nvmlEventTypeXidCriticalError,
                self._events,
                gpu=uuid,
            )

    def _ask(self, call: Callable[..., Any], *arguments: Any, gpu: str | None = None) -> Any:
        """Call; None where it failed. Raises NvmlGone when the driver is not there any more."""
        try:
            return call(*arguments)
        except pynvml.NVMLError as error:
            if error.value in _GONE:
                self.errors[call.__name__] += 1
                raise NvmlGone(str(error)) from error
            if error.value == pynvml.NVML_ERROR_GPU_IS_LOST and gpu:
                self.lost.add(gpu)
            if error.value not in _QUIET:
                self.errors[call.__name__] += 1
            # Success without any process comes as an error of value 0.
            return [] if error.value == pynvml.NVML_SUCCESS else None


def _percent(value: int) -> int | None:
    return int(value) if 0 <= value <= _PERCENT else None


def _amount(value: int | None) -> int | None:
    return None if value is None or value == _NOT_AVAILABLE else int(value)


def _gpm_value(metric: Any) -> float | None:
    value = float(metric.value)
    return value if metric.nvmlReturn == 0 and 0 <= value <= _PERCENT else None


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
