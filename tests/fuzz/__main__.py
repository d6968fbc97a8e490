"""`python -m tests.fuzz [TARGET...]`: the long form. Readers under atheris, methods over gRPC.

A reader begins with tests/fuzz/corpus; what libFuzzer finds worth keeping beyond that is merged
into it at the end: the smallest set of short inputs that reaches the same code. A fault or a hang
ends the run with the input in the message.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.addresses import free_address
from tests.fuzz.calls import methods
from tests.fuzz.storm import storm
from tools.instance import COLLECTOR, Instance, running, start, stop

METHODS = "methods"
KEPT_BYTES = 512  # of one input that is kept: longer ones say little more and fill the repository
KEPT_INPUTS = 60  # of a reader
HANG_S = 10
LIMITS = (f"-timeout={HANG_S}", "-max_len=4096", "-rss_limit_mb=2048", "-verbosity=0")


def main() -> int:
    """Fuzz what was named, or everything; return the exit status."""
    if sys.argv[1:2] == ["--here"]:
        _atheris(sys.argv[2], sys.argv[3:])
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join([*TARGETS, METHODS]))
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each")
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    options = parser.parse_args()
    for name in options.names or [*TARGETS, METHODS]:
        began_s = time.monotonic()
        if name == METHODS:
            print(asyncio.run(_methods(options.inputs)))
        elif not _reader(name, options.inputs, keep=options.keep):
            print(f"{name}: a fault, see above", file=sys.stderr)
            return 1
        took_s = time.monotonic() - began_s
        print(f"{name}: {options.inputs:,} inputs in {took_s:.0f} s, no fault, no hang", flush=True)
    return 0


def _reader(name: str, count: int, *, keep: bool) -> bool:
    """Fuzz a reader in a process of its own: libFuzzer never returns. Tell whether it held."""
    from tests.fuzz.targets import CORPUS

    with tempfile.TemporaryDirectory(prefix="whence-fuzz-") as folder:
        place = Path(folder)
        grown, merged, program = place / "grown", place / "merged", place / "fuzz"
        grown.mkdir()
        merged.mkdir()
        # A program of its own: for a merge libFuzzer runs what argv[0] names once more.
        words = shlex.join([sys.executable, "-m", "tests.fuzz", "--here", name])
        program.write_text(f'#!/bin/sh\nexec {words} "$0" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        faults = f"-artifact_prefix={place}/"
        seeds = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
        asked: list[str | Path] = [program, grown, *seeds, f"-runs={count}", *LIMITS, faults]
        if subprocess.run(asked, check=False).returncode:
            return False
        if keep:
            subprocess.run([program, "-merge=1", merged, *seeds, grown, *LIMITS], check=True)
            _keep(merged, CORPUS / name)
    return True


def _keep(merged: Path, corpus: Path) -> None:
    """Copy the shortest inputs of a merge to the corpus; seeds stay as they are."""
    corpus.mkdir(parents=True, exist_ok=True)
    known = {file.read_bytes() for file in corpus.iterdir()}
    found = [file for file in merged.iterdir() if file.stat().st_size <= KEPT_BYTES]
    room = max(0, KEPT_INPUTS - len(known))
    for file in sorted(found, key=lambda file: (file.stat().st_size, file.name))[:room]:
        if file.read_bytes() not in known:
            shutil.copyfile(file, corpus / file.name[:16])


def _atheris(name: str, words: list[str]) -> None:
    import atheris

    # Ours alone: coverage of numpy and DuckDB costs much and says nothing of our readers.
    with atheris.instrument_imports(include=["whenced", "whence_collector"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup(words, TARGETS[name].try_one)
    atheris.Fuzz()


async def _methods(count: int) -> str:
    """Share the calls among all methods. Raises SystemExit at a fault or a hang."""
    with tempfile.TemporaryDirectory(prefix="whence-fuzz-") as folder:
        instance = Instance(Path(folder), free_address())
        (instance.data_dir / "run").mkdir()
        start(instance, COLLECTOR)
        began = running(instance, COLLECTOR)
        try:
            told = await storm(instance.address, methods(), count)
            if running(instance, COLLECTOR) != began:
                raise SystemExit("the collector ended meanwhile: its log is gone with it")
        finally:
            stop(instance, COLLECTOR)
    return told


if __name__ == "__main__":
    sys.exit(main())
