"""Regenerate the wire's Python from proto/whence_proto/v1/*.proto.

Runs in an environment of its own with a generator that is old on purpose:
code made by grpcio-tools 1.62.3 runs on protobuf 4.25 and on everything newer.
`--check` regenerates beside the tree and fails on any difference.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO_ROOT = ROOT / "proto"
PROTO_DIRECTORY = PROTO_ROOT / "whence_proto" / "v1"
GENERATOR_ENVIRONMENT = ROOT / ".venv-proto"
PINS = ["grpcio-tools==1.62.3", "mypy-protobuf==3.6.0", "setuptools<80"]


def generator() -> Path:
    """Return the Python of the pinned generator, installing it when missing."""
    python = GENERATOR_ENVIRONMENT / "bin" / "python"
    if not (GENERATOR_ENVIRONMENT / "bin" / "protoc-gen-mypy").exists():
        venv.create(GENERATOR_ENVIRONMENT, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PINS], check=True)
    return python


def generate(out: Path) -> None:
    """Write *_pb2.py, *_pb2_grpc.py and their stubs below ``out``."""
    python = generator()
    plugins = GENERATOR_ENVIRONMENT / "bin"
    subprocess.run(
        [
            str(python),
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTO_ROOT}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out={out}",
            f"--mypy_grpc_out={out}",
            *sorted(str(path) for path in PROTO_DIRECTORY.glob("*.proto")),
        ],
        check=True,
    )


def stale_files(fresh_root: Path) -> list[str]:
    """Return the generated files that differ from the committed ones."""
    fresh_directory = fresh_root / "whence_proto" / "v1"
    return [
        fresh.name
        for fresh in sorted(fresh_directory.iterdir())
        if not (PROTO_DIRECTORY / fresh.name).exists()
        or not filecmp.cmp(fresh, PROTO_DIRECTORY / fresh.name, shallow=False)
    ]


def main() -> int:
    """Generate in place, or compare with ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    if not parser.parse_args().check:
        generate(PROTO_ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = stale_files(Path(scratch))
    for name in stale:
        print(f"{name} is stale: run tools/gen_proto.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
