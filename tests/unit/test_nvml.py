"""The real nvidia-ml-py over the fake library: names, activity, instances, each call failing."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.nvml import compile_fake, uuid

from whenced.gpu_reading import GpuProcess, NvmlGone, Reading
from whenced.gpu_record import Holder
from whenced.gpu_slices import SliceMaker
from whenced.nvml import Nvml

TWO = f"gpu {uuid(1)} 7 81559 NVIDIA H100 80GB HBM3\ngpu {uuid(2)} 2 81559 NVIDIA H100 80GB HBM3\n"
BUSY = TWO + "set 0 util 40\nset 0 energy 5000\nset 0 used_mb 1024\nprocess 0 123 512\n"
HOPPER = BUSY + "set 0 gpm 1\nset 0 gpm_sm 31\nset 0 gpm_tensor 12\n"
Scene = Callable[[str], None]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Load the fake: nvidia-ml-py asks for its soname and so gets it."""
    return ctypes.CDLL(str(compile_fake(tmp_path_factory.mktemp("nvml"))), ctypes.RTLD_GLOBAL)


@pytest.fixture
def scene(library: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Write what the fake answers from now on."""
    assert library
    file = tmp_path / "scene"
    monkeypatch.setenv("WHENCE_FAKE_NVML", str(file))

    def write(text: str) -> None:
        file.write_text(text)

    return write


def test_four_names_of_a_gpu_are_told_apart(scene: Scene) -> None:
    scene(TWO)

    gpus = Nvml().gpus()

    assert [(gpu.uuid, gpu.minor, gpu.nvml_index, gpu.pci) for gpu in gpus] == [
        (uuid(1), 7, 0, "00000000:10:00.0"),
        (uuid(2), 2, 1, "00000000:11:00.0"),
    ]
    assert (gpus[0].model, gpus[0].driver) == ("NVIDIA H100 80GB HBM3", "595.45.04")


def test_a_reading_holds_what_is_known_and_none_of_the_rest(scene: Scene) -> None:
    scene(BUSY)
    nvml = Nvml()
    nvml.gpus()

    assert nvml.read(uuid(1)) == Reading(
        busy_percent=40,
        energy_mj=5000,
        memory_used_bytes=1 << 30,
        processes=(GpuProcess(123, uuid(1), 512 << 20),),
    )
    assert nvml.read(uuid(2)) == Reading(memory_used_bytes=0, processes=())
    assert nvml.errors == {}


def test_hopper_tells_sm_and_tensor_activity_from_the_second_look_on(scene: Scene) -> None:
    scene(HOPPER)
    nvml = Nvml()
    nvml.gpus()

    readings = [nvml.read(uuid(1)), nvml.read(uuid(1))]

    assert [(each.sm_percent, each.tensor_percent) for each in readings] == [
        (None, None),
        (31.0, 12.0),
    ]


def test_several_processes_have_their_share_and_garbage_is_left_out(scene: Scene) -> None:
    scene(
        BUSY + "process 0 124 256 mps\nwork 0 123 70 1000\nwork 0 123 50 2000\n"
        "work 0 124 30 1500\nwork 0 124 37100 1600\n"
    )
    nvml = Nvml()
    nvml.gpus()

    first, second = nvml.read(uuid(1)), nvml.read(uuid(1))

    assert first.sm_percent_of == {123: 60, 124: 30}
    assert [each.mps for each in first.processes or ()] == [False, True]
    assert second.sm_percent_of == {}


def test_instances_are_gpus_of_their_own_with_their_processes(scene: Scene) -> None:
    scene(
        TWO + "set 0 mig 1\nmig 0 MIG-a 3 40780\nmig 0 MIG-b 2 20390\n"
        "process 0/0 11 100\nprocess 0/1 12 200\n"
    )
    nvml = Nvml()

    gpus = {gpu.uuid: gpu for gpu in nvml.gpus()}

    assert (gpus["MIG-a"].mig_parent, gpus["MIG-a"].compute_slices) == (uuid(1), 3)
    assert [gpus[name].memory_slices for name in ("MIG-a", "MIG-b")] == [4, 2]
    processes = nvml.read(uuid(1)).processes or ()
    assert [(each.pid, each.gpu) for each in processes] == [(11, "MIG-a"), (12, "MIG-b")]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "busy_percent"),
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_mj"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
        ("nvmlGpmMetricsGet", "sm_percent"),
    ],
)
def test_a_call_that_fails_leaves_the_others_as_they_are(
    scene: Scene, call: str, field: str
) -> None:
    scene(HOPPER + f"error {call} 999\n")
    nvml = Nvml()
    nvml.gpus()
    nvml.read(uuid(1))

    reading = nvml.read(uuid(1))

    unknown = {name for name in ("busy_percent", "memory_used_bytes", "energy_mj", "processes",
                                 "sm_percent") if getattr(reading, name) is None}  # fmt: skip
    assert unknown == {field}
    assert nvml.errors.total() >= 1


def test_a_gpu_that_is_lost_leaves_the_other(scene: Scene) -> None:
    scene(BUSY)
    nvml = Nvml()
    nvml.gpus()
    scene(BUSY + "error nvmlDeviceGetUtilizationRates 15\n")

    assert nvml.read(uuid(1)).busy_percent is None
    scene(BUSY + "set 1 util 9\n")
    assert nvml.read(uuid(1)) == Reading()
    assert nvml.read(uuid(2)).busy_percent == 9


def test_a_driver_that_goes_away_says_so_and_comes_back(scene: Scene) -> None:
    scene(BUSY)
    nvml = Nvml()
    nvml.gpus()
    scene(BUSY + "error nvmlDeviceGetUtilizationRates 9\n")
    with pytest.raises(NvmlGone):
        nvml.read(uuid(1))
    scene("error nvmlInitWithFlags 9\n")
    with pytest.raises(NvmlGone):
        Nvml()
    scene(BUSY)

    again = Nvml()
    again.gpus()

    assert again.read(uuid(1)).busy_percent == 40


def test_a_fault_is_told_once(scene: Scene) -> None:
    scene(TWO + "xid 1 79 1\n")
    nvml = Nvml()
    nvml.gpus()

    assert [nvml.faults(), nvml.faults()] == [[(uuid(2), 79)], []]


def test_a_slice_adds_up_readings_and_unknown_stays_unknown() -> None:
    maker = SliceMaker("G", 0)
    holder = Holder(123, 5, 1)
    maker.add(Reading(busy_percent=50, energy_mj=1000, memory_used_bytes=7), 100)
    maker.close(100, lambda _: None)
    process = GpuProcess(123, "G", 3)
    busy = Reading(10, energy_mj=1500, memory_used_bytes=8, processes=(process,))
    maker.add(busy, 200)
    maker.add(Reading(90, energy_mj=1600, memory_used_bytes=9), 300)

    row, shares = maker.close(300, {123: holder}.get)

    assert row[1:] == (100, 300, 100, None, None, 600, 9)
    assert [(each.process, each.memory_bytes, each.sm_ppm) for each in shares] == [
        (holder, 3, None)
    ]


def test_energy_of_a_reloaded_driver_is_not_known_for_that_slice() -> None:
    maker = SliceMaker("G", 0)
    maker.add(Reading(energy_mj=1000), 1)
    maker.close(1, lambda _: None)
    maker.add(Reading(energy_mj=10), 2)
    first, _ = maker.close(2, lambda _: None)
    maker.add(Reading(energy_mj=25), 3)
    second, _ = maker.close(3, lambda _: None)

    assert [first.energy_mj, second.energy_mj] == [None, 15]
