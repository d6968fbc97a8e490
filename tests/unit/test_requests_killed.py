"""A collector that is killed at random moments: what it had answered is there, the chain whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.conformance.repository import ROOT
from tests.unit.request_place import Place

from whence_proto.v1 import request_pb2 as wire

ROUNDS = 4


def test_what_was_answered_survives_being_killed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for name, roles in (("maria", ["approver"]), ("alice", ["member"])):
        place.administer("SetPrincipal", wire.Principal(
            name=name, kind="human", roles=roles, accounts=[f"{name}@*"],
        ))  # fmt: skip
    place.administer("SetPolicy", wire.PolicyRequest(agent_open_requests=10_000))
    place.close()
    chance, promised = random.Random(9), 0  # noqa: S311 -- moments to kill at

    for _ in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.unit.request_writer", str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": ":".join(("proto", "daemon", "collector", "client", "."))},
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            promised = max(promised, int(writer.stdout.readline()))
            time.sleep(chance.random() * 0.4)
            writer.kill()
            lines = writer.stdout.read().split()
        promised = max([promised, *(int(line) for line in lines)])

        found = Place(tmp_path)
        assert found.ledger.verify().fault == ""
        assert found.ledger.book.head.number >= promised
        said = [comment.text for comment in found.ledger.book.requests["R-1"].comments]
        kept = found.store.write(
            lambda writer: writer.rows("SELECT text FROM request_remark ORDER BY at_ns, text")
        ).result()
        assert sorted(text for (text,) in kept) == sorted(said)
        found.close()
