"""The command as a program, and a collector for it to ask: what the tests of the command share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit import client_samples as samples
from tests.unit.client_samples import MODEL_DIGEST

import whence
import whence_proto
from whence.testing import Answers, CannedCollector, Table
from whence_proto.v1 import query_pb2 as wire

# The client alone: what it needs of the daemon or collector would be missing here.
SOURCES = os.pathsep.join(
    str(Path(str(package.__file__)).parent.parent) for package in (whence, whence_proto)
)
ROWS = Table(["run_id", "n", "n"], [["a\x1b[2J", 1, 2], ["b", None, 2.5]])
ANSWERS = Answers(
    found={
        MODEL_DIGEST: samples.found(),
        "blake3:123456": wire.FindReply(candidates=[samples.DATA_DIGEST, samples.RAW_DIGEST]),
    },
    runs=[samples.detail(), wire.RunDetail(run=samples.prepare())],
    lineages={MODEL_DIGEST: samples.lineage(), "4f0c9a1e": samples.lineage()},
    tables={"FROM runs": ROWS, "FROM nothing": Table(["a"], [])},
    status=samples.status(),
)


def environment(address: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return kept | {"PYTHONPATH": SOURCES, "WHENCE_ADDRESS": address, "COLUMNS": "80"}


def ask(
    collector: CannedCollector, *words: str | bytes | Path, **more: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whence", *words]
    more = {"capture_output": True} | more
    done = subprocess.run(
        command, env=environment(collector.address), text=True, timeout=60, check=False, **more
    )
    assert "Traceback" not in (done.stderr or "")
    return done
