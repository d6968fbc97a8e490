"""A way that capture cannot follow makes the run that took it incomplete, with the reason."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import rows, write_job
from tests.scope import Scope

pytestmark = pytest.mark.kernel

# A loop device with no file behind it: empty, and below every file system.
DEVICE = """\
import os

os.mknod("disk", 0o60600, os.makedev(7, 7))
os.read(os.open("disk", os.O_RDONLY), 10)
"""
REASON = "a block device was used below its file system"


def test_a_run_that_reads_a_block_device_says_so(scope: Scope, whence: Whence, place: Path) -> None:
    write_job(place, device_py=DEVICE, plain_py="print(1)")
    expected = {("python3 device.py", False, REASON), ("python3 plain.py", True, None)}

    scope.run(["python3", "device.py"], place)
    scope.run(["python3", "plain.py"], place)
    columns = "command, complete, incomplete_reason"
    ask = partial(rows, whence, columns, "runs", f"cwd = '{place}'")

    assert settled(ask, expected) == expected
