"""The proof for a machine with a GPU, as far as a machine without one can try it.

What the driver is asked comes from the fake library of tests/fakes, behind the real nvidia-ml-py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.nvml import compile_fake, uuid
from tests.gpu import proof, steps

READ = """
import ctypes, sys
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
from tests.gpu import proof, steps
for step in (steps.counters, steps.tensor_work):
    print(*proof.verdict(step, None), sep="|")
"""


def test_all_twelve_steps_are_tried() -> None:
    assert sorted({number for number, *_ in proof.STEPS}) == list(range(1, 13))


@pytest.mark.parametrize(("error", "told"), [
    (steps.Skipped("needs MPS"), ("needs MPS", "SKIP")),
    (RuntimeError("199 holds of 200"), ("RuntimeError: 199 holds of 200", "FAILED")),
    (OSError("no libcuda.so.1"), ("OSError: no libcuda.so.1", "FAILED")),
])  # fmt: skip
def test_what_ends_a_step_is_its_verdict(error: Exception, told: tuple[str, str]) -> None:
    def step(on: proof.Host) -> str:
        del on
        raise error

    assert proof.verdict(step, None) == told  # type: ignore[arg-type]


def test_the_driver_is_asked_and_what_is_missing_is_said(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.write_text(f"gpu {uuid(1)} 0 81559 NVIDIA H100 80GB HBM3\n")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(compile_fake(tmp_path))],
        env={**os.environ, "WHENCE_FAKE_NVML": str(scene)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    verdicts = [line.rsplit("|", 1)[1] for line in done.stdout.splitlines()]
    assert verdicts == ["passed", "SKIP"], done.stdout
