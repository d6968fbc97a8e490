"""What is kept of how a run was made: its environment, and nothing of its secrets."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import RAW, Rows, runs_writing, write_job
from tests.scope import Scope
from tests.unit.secrets_corpus import NAMED, TOKENS, leaks
from tools.instance import Instance

pytestmark = pytest.mark.kernel

PATH = {"PATH": os.environ["PATH"]}
STAGE = ["python3", "stage.py", "out.txt", "raw.csv"]


def test_run_keeps_its_request_project_and_environment(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW)
    given = {"WHENCE_REQUEST": "tr-7", "WHENCE_PROJECT": "vision", "WHENCE_CLAIM": "c-1"}
    environment = PATH | given | {"MY_SEED": "17", "PRIVATE_NOTE": "nobody's business"}

    scope.run(STAGE, place, environment=environment)

    states = partial(runs_writing, whence, place, "request_id, project, claim_id")
    expected: Rows = {("tr-7", "vision", "c-1")}
    assert settled(states, expected) == expected
    ((run_id,),) = runs_writing(whence, place, "run_id")
    kept = {
        row["name"]: row["value"]
        for row in whence.sql(f"SELECT name, value FROM run_environment WHERE run_id = '{run_id}'")  # noqa: S608
    }
    assert {name: kept.get(name) for name in (*given, "MY_SEED", "PRIVATE_NOTE")} == {
        **given,
        "MY_SEED": "17",
        "PRIVATE_NOTE": None,
    }
    seeds = whence.sql(f"SELECT name, value, source FROM run_seeds WHERE run_id = '{run_id}'")  # noqa: S608
    assert {"name": "MY_SEED", "value": "17", "source": "environment"} in seeds


def test_no_secret_is_stored_or_sent(
    scope: Scope, whence: Whence, instance: Instance, place: Path
) -> None:
    """Neither the database nor the spool nor a log holds any, however it was given."""
    write_job(place, raw_csv=RAW, job_py="open('out.txt', 'w').write('done')")
    environment = PATH | dict(NAMED) | {f"SLURM_X{n}": each for n, each in enumerate(TOKENS)}
    words = [f"--api-key={TOKENS[0]}", *TOKENS, *(f"{name}={value}" for name, value in NAMED)]

    scope.run(["python3", "job.py", *words], place, environment=environment)

    states = partial(runs_writing, whence, place, "status")
    assert settled(states, {("succeeded",)}) == {("succeeded",)}
    files = [path for path in instance.data_dir.rglob("*") if path.is_file()]
    found = {path.name: leaks(path.read_bytes().decode("latin-1")) for path in files}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
