"""Words of a command line → a command; addresses; imports stay light."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import whence
from whence.channel import resolve_address
from whence.errors import MisuseError
from whence.options import COMMANDS, parse, split_command


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model.pt"], ("find", ["model.pt"])),
        (["--json", "model.pt"], ("find", ["--json", "model.pt"])),
        (["log", "--all"], ("log", ["--all"])),
        (["--json", "log"], ("log", ["--json"])),
        (["--address", "log", "show", "4f"], ("show", ["--address", "log", "4f"])),
        (["./log"], ("find", ["./log"])),
        (["--", "log"], ("find", ["--", "log"])),
        (["sql", "-"], ("sql", ["-"])),
        (["-"], ("find", ["-"])),
        ([], ("", [])),
        (["--json"], ("", ["--json"])),
    ],
)
def test_the_first_word_decides(words: list[str], expected: tuple[str, list[str]]) -> None:
    assert split_command(words) == expected


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["show"],
        ["log", "extra"],
        ["log", "--status", "happy"],
        ["log", "--limit", "0"],
        ["log", "--limit", "many"],
        ["log", "--us", "alice"],
        ["model.pt", "other.pt"],
        ["lineage", "model.pt", "--format", "png"],
        ["model.pt", "--nonsense"],
    ],
)
def test_misuse_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)

    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_misuse_is_one_sentence_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["log", "--limit", "0"])

    assert capsys.readouterr().err == (
        "whence: argument --limit: '0' is not a count above 0: see `whence log --help`\n"
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["model.pt", "-h"], ["log", "--help"], ["--version"]]
)
def test_help_and_version_end_with_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)

    assert ended.value.code == 0
    assert "whence" in capsys.readouterr().out


def test_the_overview_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])

    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, {}, "127.0.0.1:7420"),
        (None, {"WHENCE_ADDRESS": ""}, "127.0.0.1:7420"),
        (None, {"WHENCE_ADDRESS": "gpu-07:9000"}, "gpu-07:9000"),
        ("other:1", {"WHENCE_ADDRESS": "gpu-07:9000"}, "other:1"),
        ("gpu-07", {}, "gpu-07:7420"),
        ("[::1]:7420", {}, "[::1]:7420"),
        ("[::1]", {}, "[::1]:7420"),
        ("unix:/run/x.sock", {}, "unix:/run/x.sock"),
    ],
)
def test_addresses(given: str | None, environment: dict[str, str], expected: str) -> None:
    assert resolve_address(given, environment) == expected


@pytest.mark.parametrize("text", ["host:", "host:port", "host:0", "host:65536", ":7420", "a:²"])
def test_what_is_no_address_is_misuse(text: str) -> None:
    with pytest.raises(MisuseError, match=r"is not an address: write HOST:PORT"):
        resolve_address(text, {})


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import whence", "import whence.cli", "import whence.model"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = {"grpc", "google", "rich", "blake3", "duckdb", "numpy", "whenced", "whence_collector"}

    assert loaded_after(statement) & heavy == set()


def test_the_client_loads_neither_database_nor_daemon() -> None:
    heavy = {"rich", "duckdb", "numpy", "pyarrow", "whenced", "whence_collector"}

    assert loaded_after("import whence.commands, whence.cli") & heavy == set()


def test_public_names() -> None:
    assert whence.__all__ == [
        "Client",
        "MissingFileError",
        "MisuseError",
        "NotFoundError",
        "RefusedError",
        "UnreachableError",
        "UnreadableFileError",
        "WhenceError",
        "__version__",
        "metric",
        "tag",
    ]
    assert [name for name in whence.__all__ if not hasattr(whence, name)] == []


def test_every_command_can_be_run() -> None:
    from whence.commands import RUNS

    assert set(RUNS) == {"find", *COMMANDS}
