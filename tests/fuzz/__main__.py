"""`python -m tests.fuzz [TARGET...]`: the long form. Readers under atheris, methods over gRPC.

What atheris finds worth keeping is added to tests/fuzz/corpus; a fault ends the run with the
input in the message.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
from tests.addresses import free_address
from tests.fuzz.calls import FAULTS, call, methods, requests_for
from tools.instance import COLLECTOR, Instance, start, stop

METHODS = "methods"


def main() -> int:
    """Fuzz what was named, or everything; return the exit status."""
    if "--here" in sys.argv:
        _atheris(sys.argv[1], int(sys.argv[-1]))
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join([*TARGETS, METHODS]))
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each")
    options = parser.parse_args()
    for name in options.names or [*TARGETS, METHODS]:
        began_s = time.monotonic()
        if name == METHODS:
            _methods(options.inputs)
        else:
            # A process each: libFuzzer never returns.
            words = [sys.executable, "-m", "tests.fuzz", name, "--here"]
            done = subprocess.run([*words, "--inputs", str(options.inputs)], check=False)
            if done.returncode:
                print(f"{name}: a fault, see above", file=sys.stderr)
                return 1
        print(f"{name}: {options.inputs:,} inputs in {time.monotonic() - began_s:.0f} s, no fault")
    return 0


def _atheris(name: str, count: int) -> None:
    import atheris

    # Ours alone: coverage of numpy and DuckDB costs much and says nothing of our readers.
    with atheris.instrument_imports(include=["whenced", "whence_collector"]):
        from tests.fuzz.targets import CORPUS, TARGETS

    target, folder = TARGETS[name], CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-runs={count}", "-max_len=4096", "-timeout=10", "-print_final_stats=1"]
    atheris.Setup([name, str(folder), *limits], target.try_one)
    atheris.Fuzz()


def _methods(count: int) -> None:
    """Share the calls among all methods. Raises SystemExit at a fault."""
    found, dice = methods(), random.Random()  # noqa: S311 -- no secret
    with tempfile.TemporaryDirectory(prefix="whence-fuzz-") as folder:
        instance = Instance(Path(folder), free_address())
        (instance.data_dir / "run").mkdir()
        start(instance, COLLECTOR)
        try:
            with grpc.insecure_channel(instance.address) as channel:
                for number in range(count):
                    method = found[number % len(found)]
                    requests = list(requests_for(method, dice))
                    status = call(channel, method, requests)
                    if status in FAULTS:
                        raise SystemExit(f"{method.path} ended with {status}: {requests!r}")
        finally:
            stop(instance, COLLECTOR)


if __name__ == "__main__":
    sys.exit(main())
