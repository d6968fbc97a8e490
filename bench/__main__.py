"""`python -m bench [NAME...]`: measure, print the tables, keep them in docs/numbers.md.

Decides nothing: a figure that misses its target is printed like any other.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    closure,
    fleet,
    floods,
    hashing,
    hot_path,
    idle,
    latency,
    outage,
    overhead,
    requests,
    spend,
    start,
    storm,
    trees,
    volume,
)
from bench.report import Section, to_markdown, with_preface, with_section
from tools.instance import GroundError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "numbers.md"
# Benchmarks with a page of their own.
PAGES = {"overhead": ROOT / "docs" / "overhead.md"}
PREFACES = {
    "overhead": """\
# What watching costs

Written by `make bench BENCH=overhead`, which takes about 25 minutes, most of it spent in the slower
peers. It installs them itself: Debian packages, and for ReproZip and roar environments of their
own. Every job runs bare and under each observer in turn, round after round, on one machine.

Machine of the last run: {machine}.
"""
}
PREFACE = """\
# Numbers

Written by `make bench`, which takes about half an hour; `make bench BENCH=NAME` measures
one and replaces its section. Each runs a whence of its own (data directory, address, control group)
and records only that control group. Figures are medians with the least and the greatest value.
Compare ratios, which are of runs side by side, rather than times: the machine may do other work.

Machine of the last run: {machine}.
"""


def ingest() -> Section:
    """Run bench/ingest.py, which prints a line for each shape, as a section."""
    shapes = (("--rows", "1000"), ("--rows", "1000", "--streams", "4", "--batches", "100"))
    lines = [_said([sys.executable, "-m", "bench.ingest", *shape]) for shape in shapes]
    return Section(
        "ingest",
        "rows into a collector",
        "200,000 durable rows/s per core with 1,000-row batches",
        "Real gRPC, a real DuckDB file, acks counted after the fsync; batches as daemons send them."
        " `python -m bench.ingest --help` has the sizes.",
        ("streams, batches, rows: rows/s, rows per CPU second of the collector, wait for the ack",),
        tuple((line,) for text in lines for line in text.strip().splitlines()),
    )


BENCHMARKS: dict[str, Callable[[], Section]] = {
    "start": start.measure,
    "latency": latency.measure,
    "volume": volume.measure,
    "hot_path": hot_path.measure,
    "idle": idle.measure,
    "ingest": ingest,
    "closure": closure.measure,
    "trees": trees.measure,
    "hashing": hashing.measure,
    "fleet": fleet.measure,
    "floods": floods.measure,
    "storm": storm.measure,
    "outage": outage.measure,
    "overhead": overhead.measure,
    "spend": spend.measure,
    "requests": requests.measure,
}


def _said(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def machine() -> str:
    """Return what the figures depend on: processor, cores, kernel, Python, and the day."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    kernel = platform.release().split("-")[0]
    cores = os.cpu_count()
    return f"{model}, {cores} cores, Linux {kernel}, Python {platform.python_version()}, {today}"


def main() -> int:
    """Measure what was named, or everything; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--kept", action="store_true", help="only write what bench.overhead measured in parts"
    )
    chosen = parser.parse_args()
    if chosen.kept:
        write(overhead.section())
        return 0
    names = chosen.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}: name one of {', '.join(BENCHMARKS)}")
    if os.geteuid() != 0:
        print("bench: capturing takes root: run it with sudo", file=sys.stderr)
        return 2
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        try:
            section = BENCHMARKS[name]()
        except GroundError as refusal:
            print(f"bench: {refusal}", file=sys.stderr)
            return 1
        print(to_markdown(section), flush=True)
        write(section)
    return 0


def write(section: Section) -> None:
    """Keep a section in its page."""
    place = PAGES.get(section.name, PAGE)
    preface = PREFACES.get(section.name, PREFACE).format(machine=machine())
    page = place.read_text(encoding="utf-8") if place.exists() else ""
    place.write_text(with_preface(with_section(page, section), preface), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
