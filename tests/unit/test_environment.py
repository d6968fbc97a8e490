"""What of an environment is kept: the list of names, and no secret under any of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.daemon_samples import FixedNames, event
from tests.unit.secrets_corpus import NAMED, TOKENS, VALUES, leaks

from whence_proto.v1 import ingest_pb2 as wire
from whenced.code_repository import read_configuration, repository_at
from whenced.columns import fill
from whenced.environment import is_allowed, variables_of
from whenced.processes import Processes
from whenced.record import Flag, Kind, Part
from whenced.redact import redact_arguments
from whenced.rows import EnvironmentRow, FileVersion, ProcessKey, Row
from whenced.text import Texts

PYTHON = FileVersion(1, 2, 3, 4)


def block(**variables: str) -> bytes:
    return b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items())


def executed(
    processes: Processes, exec_id: int, environment: bytes | None, **fields: Any
) -> ProcessKey:
    parts = {int(Part.PATH): b"p\0", int(Part.ARGS): b"p\0"}
    if environment is not None:
        parts[int(Part.ENVIRONMENT)] = environment
    values = {"tgid": 200, "start_ns": 2_000, "exec_id": exec_id} | fields
    return processes.on_exec(event(Kind.EXEC, **values), Texts(parts), PYTHON)


def told(processes: Processes) -> list[EnvironmentRow]:
    return [row for row in processes.take_rows() if isinstance(row, EnvironmentRow)]


@pytest.mark.parametrize(
    "name",
    "WHENCE_REQUEST WHENCE_CLAIM WHENCE_PROJECT SLURM_JOB_ID SLURM_JOB_SLUID RANK WORLD_SIZE "  # noqa: SIM905 -- fits a page
    "LOCAL_RANK MASTER_ADDR MASTER_PORT TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT RAY_JOB_ID "
    "CUDA_VISIBLE_DEVICES PYTHONHASHSEED PL_GLOBAL_SEED OMP_NUM_THREADS CONDA_PREFIX VIRTUAL_ENV "
    "HF_HOME CLAUDECODE CURSOR_AGENT".split(),
)
def test_names_that_later_parts_need_are_kept(name: str) -> None:
    assert ((name, "7"),) == variables_of(block(**{name: "7", "HOME": "/home/ada"}))


@pytest.mark.parametrize("name", ["HOME", "USER", "LS_COLORS", "SSH_AUTH_SOCK", "DBUS_SESSION"])
def test_other_names_are_dropped(name: str) -> None:
    assert variables_of(block(**{name: "x"})) == ()


@pytest.mark.parametrize(("name", "value"), NAMED)
def test_no_secret_variable_is_kept(name: str, value: str) -> None:
    assert leaks(repr(variables_of(block(**{name: value})))) == []


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_under_a_name_that_is_kept_is_replaced(token: str) -> None:
    kept = variables_of(block(WHENCE_PROJECT=token, SLURM_JOB_COMMENT=f"see {token}", PATH=token))

    assert leaks(repr(kept)) == []
    assert [name for name, _ in kept] == ["PATH", "SLURM_JOB_COMMENT", "WHENCE_PROJECT"]


def test_no_secret_of_the_corpus_passes_as_an_argument() -> None:
    named = [word for name, value in NAMED for word in (f"{name}={value}", "x")]
    flags = [
        word
        for name, value in NAMED
        if "URL" not in name
        for word in ("--" + name.lower().replace("_", "-"), value)
    ]
    shell = " && ".join(f"export {name}='{value}'" for name, value in NAMED)

    for argv in (["echo", *TOKENS], ["env", *named], ["train", *flags], ["sh", "-c", shell]):
        assert leaks("\n".join(redact_arguments(argv))) == []


@pytest.mark.parametrize("token", TOKENS)
def test_no_secret_of_the_corpus_passes_in_a_remote(token: str, tmp_path: Path) -> None:
    """The configuration of a repository is read, and its remote sent."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    url = f"https://oauth2:{token}@example.com/{token}/x.git"
    config = tmp_path / ".git" / "config"
    config.write_text(
        f'[remote "origin"]\n\turl = {url}\n[http]\n\textraheader = "Authorization: {token}"\n'
    )
    root = os.open("/", os.O_PATH)
    try:
        with repository_at(root, os.fsencode(tmp_path)) as repository:
            assert repository is not None
            found = read_configuration(repository)
    finally:
        os.close(root)

    assert leaks(repr(found)) == []


def test_no_secret_of_the_corpus_reaches_the_wire() -> None:
    """Environment and arguments of one exec, as bytes of the batch that leaves the host."""
    processes = Processes(FixedNames())
    secrets = dict(NAMED) | {f"SLURM_X{nth}": value for nth, value in enumerate(TOKENS)}
    executed(processes, 6, block(**secrets))
    batch = wire.Batch()
    rows: list[Row] = [*processes.take_rows()]
    fill(batch, rows)

    assert len(batch.environments.process) == 1
    assert leaks(batch.SerializeToString().decode("utf-8", "replace")) == []
    assert len(VALUES) == len(set(VALUES))


def test_the_first_of_two_values_counts_and_nonsense_is_dropped() -> None:
    raw = b"RANK=1\0RANK=2\0=x\0no equals\0WORLD SIZE=3\0\xff\xfe=4\0LANG=\xff\0"

    assert variables_of(raw) == (("LANG", "\\xff"), ("RANK", "1"))


def test_seeds_that_are_no_numbers_are_no_seeds() -> None:
    raw = block(SEED="12", MY_SEED="-3", WALLET_SEED="legal winner thank", PYTHONHASHSEED="random")

    assert variables_of(raw) == (("MY_SEED", "-3"), ("PYTHONHASHSEED", "random"), ("SEED", "12"))


def test_long_values_are_cut() -> None:
    ((_, value),) = variables_of(block(PATH="/x" * 100_000))

    assert len(value) == 4096


def test_an_environment_is_told_once_for_a_program_and_its_children() -> None:
    processes = Processes(FixedNames())
    first = executed(processes, 6, block(RANK="0", HOME="/"))
    processes.on_fork(
        event(
            Kind.FORK, tgid=300, start_ns=3_000, exec_id=6,
            other_tgid=200, other_start_ns=2_000, other_exec_id=6,
        )
    )  # fmt: skip
    executed(processes, 7, block(RANK="0", HOME="/root"), tgid=300, start_ns=3_000)
    other = executed(processes, 8, block(RANK="1"), tgid=300, start_ns=3_000)

    assert told(processes) == [
        EnvironmentRow(first, (("RANK", "0"),)),
        EnvironmentRow(other, (("RANK", "1"),)),
    ]


def test_a_lost_environment_is_not_an_empty_one() -> None:
    processes = Processes(FixedNames())
    executed(processes, 6, None)
    lost = told(processes)
    executed(processes, 7, b"")

    assert lost == []
    assert [row.variables for row in told(processes)] == [()]


def test_an_environment_that_was_cut_says_so() -> None:
    processes = Processes(FixedNames())
    executed(processes, 6, block(RANK="0"), flags=int(Flag.ENV_TRUNCATED))

    assert [row.truncated for row in told(processes)] == [True]


def test_the_environment_of_older_programs_comes_from_the_host() -> None:
    processes = Processes(FixedNames(environment_by_tgid={100: block(SLURM_JOB_ID="7")}))
    processes.on_seen(event(Kind.PROCESS_SEEN, tgid=100, start_ns=1_000, exec_id=5), Texts(), None)

    assert [row.variables for row in told(processes)] == [(("SLURM_JOB_ID", "7"),)]


@pytest.mark.parametrize("name", ["SLURM_JWT", "NCCL_TOKEN", "VLLM_API_KEY", "TORCH_PASSWORD"])
def test_a_listed_pattern_does_not_admit_a_secret_name(name: str) -> None:
    assert not is_allowed(name)
