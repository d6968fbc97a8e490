"""How fast the hasher's own reading is beside b3sum, on the same files in the same run.

The files are in the page cache, so that the figure is of the hash and of what stands around it.
Only measures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.report import Section, ratio, spread
from tools.instance import GroundError

from whenced.hash_file import Reading, digest_file
from whenced.hash_messages import HashRequest
from whenced.hash_open import OpenedFile, fstat_probe, open_requested

ROUNDS = 7
SETS = (("1 file of 1 GiB", 1, 1 << 30), ("64 files of 16 MiB", 64, 16 << 20))
SMALL = (("4,000 files of 64 KiB", 4000, 64 << 10), ("4,000 files of 4 KiB", 4000, 4 << 10))
B3SUM = ("b3sum", "--no-names")


def measure() -> Section:
    """Hash each set of files by the hasher's code and by b3sum, round by round."""
    if shutil.which("b3sum") is None:
        raise GroundError("b3sum is missing: call `tools/setup.sh bench`, then measure again")
    with tempfile.TemporaryDirectory(prefix="whence-bench-", dir="/dev/shm") as folder:
        rows = [_row(Path(folder), *each) for each in (*SETS, *SMALL)]
    return Section(
        "hashing",
        "reading for identity, beside b3sum",
        "80 % of b3sum's speed on the same files",
        f"{ROUNDS} rounds, each of b3sum with one thread, the hasher's reading (BLAKE3 with all of"
        " its checks of the version before and after), the same for an output (SHA-256 as well),"
        " and b3sum with all cores. Files in memory; the speed is of one process from its first"
        " file to its last, for b3sum with its start. The hasher's bounded share of a core is off.",
        (
            "files",
            "b3sum, one thread",
            "hasher",
            "speed beside it",
            "an output",
            "b3sum, all cores",
        ),
        tuple(rows),
    )


def _row(folder: Path, name: str, count: int, size_bytes: int) -> tuple[str, ...]:
    place = folder / name.replace(" ", "-")
    place.mkdir()
    paths = []
    for number in range(count):
        path = place / f"{number:05}"
        path.write_bytes(os.urandom(min(size_bytes, 1 << 20)) * max(1, size_bytes >> 20))
        paths.append(path)
    total_mb = sum(path.stat().st_size for path in paths) / 1e6
    single, own, output, multi = [], [], [], []
    for _ in range(ROUNDS):
        single.append(total_mb / _b3sum_s(paths, ("--num-threads", "1")))
        own.append(total_mb / _hasher_s(paths, written=False))
        output.append(total_mb / _hasher_s(paths, written=True))
        multi.append(total_mb / _b3sum_s(paths, ()))
    shutil.rmtree(place)
    return (
        name,
        spread(single, "MB/s"),
        spread(own, "MB/s"),
        ratio(own, single),
        spread(output, "MB/s"),
        spread(multi, "MB/s"),
    )


def _b3sum_s(paths: list[Path], words: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([*B3SUM, *words, *paths], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _hasher_s(paths: list[Path], *, written: bool) -> float:
    reading = Reading(fstat_probe)
    inodes = [path.stat().st_ino for path in paths]  # a daemon has them from the kernel
    names = list(map(os.fsencode, paths))
    began = time.perf_counter()
    for number, (path, inode) in enumerate(zip(names, inodes, strict=True)):
        request = HashRequest(
            number,
            path,
            pid=os.getpid(),
            inode=inode,
            written=written,
            own_root=True,
        )
        opened = open_requested(request, fstat_probe)
        if not isinstance(opened, OpenedFile):
            raise SystemExit(f"{path!r} was not opened: {opened}")
        reply = digest_file(opened.fd, request, reading)
        os.close(opened.fd)
        if reply.state != "verified":
            raise SystemExit(f"{path!r} got no digest: {reply}")
    return time.perf_counter() - began
