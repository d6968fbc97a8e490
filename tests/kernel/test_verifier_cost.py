"""Programs stay far below what the kernel's verifier accepts (1,000,000 instructions)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.witness import Witness

from whenced import plan

pytestmark = pytest.mark.kernel
# A tenth of the kernel's limit: other kernels verify the same program at other costs.
BOUND = 100_000


@pytest.mark.parametrize("name", [*plan.PROGRAMS, *plan.ITERATORS, "census", "probe"])
def test_each_program_is_cheap_to_verify(witness: Witness, name: str) -> None:
    """Instructions that the verifier went through, as the kernel tells (since 5.16)."""
    kernel = witness.kernel
    fd = kernel.program_fd(name)
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    )

    assert 0 < int(fields["verified_insns"]) <= BOUND
