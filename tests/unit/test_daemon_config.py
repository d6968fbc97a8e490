"""Settings: what wins over what, and one clear sentence for each mistake."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from whenced.config import Scope, Settings, add_flags, load, split_address
from whenced.errors import ConfigError


def load_text(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "w.toml"
    file.write_text(text)
    return load({"WHENCE_CONFIG": str(file)}, {})


def flags(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return vars(parser.parse_args(arguments))


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load({}, flags(), tmp_path / "absent.toml")

    assert settings == Settings()
    assert settings.metrics_address == ("127.0.0.1", 7422)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text('data_dir = "/file"\naddress = "file:1"\nhash_share = 0.25\nmetrics_port = 9')
    environ = {"WHENCE_DATA_DIR": "/environ", "WHENCE_ADDRESS": "environ:2"}
    settings = load(environ, flags("--config", str(file), "--address", "flag:3"))

    assert settings == Settings(
        data_dir=Path("/environ"), address="flag:3", hash_share=0.25, metrics_port=9
    )


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    environ = {"WHENCE_DATA_DIR": "", "WHENCE_ADDRESS": "", "WHENCE_CONFIG": ""}

    assert load(environ, {}, tmp_path / "absent.toml") == Settings()


def test_scope(tmp_path: Path) -> None:
    text = '[scope]\ncgroups = ["/c/a"]\nuids = [0, 1000]\ninclude_paths = ["/d"]\n'

    assert load_text(tmp_path, text).scope == Scope((Path("/c/a"),), (0, 1000), (Path("/d"),))


def test_cgroup_flags_replace_those_of_the_file_and_keep_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text('[scope]\ncgroups = ["/c/a"]\nuids = [7]')
    given = flags("--config", str(file), "--cgroup", "/c/b", "--cgroup", "/c/c")

    assert load({}, given).scope == Scope((Path("/c/b"), Path("/c/c")), (7,))


@pytest.mark.parametrize(
    ("port", "expected"), [(None, ("127.0.0.1", 502)), (9, ("127.0.0.1", 9)), (0, None)]
)
def test_where_metrics_are(port: int | None, expected: tuple[str, int] | None) -> None:
    assert Settings(address="h:500", metrics_port=port).metrics_address == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [("a.b:1", ("a.b", 1)), ("[::1]:65533", ("::1", 65533)), ("10.0.0.1:80", ("10.0.0.1", 80))],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize(
    "address",
    ["", "a", "a:", ":1", "a:0", "a:65534", "a:-1", "a:x", "::1:80", "http://a:1", "a:1\n"],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        split_address(address)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "\nspool_limit_byte = 1",
            "{file} line 2: unknown setting 'spool_limit_byte', did you mean 'spool_limit_bytes'?",
        ),
        (
            "[scope]\nfoo = 1",
            "{file} line 2: unknown setting 'foo', "
            "known are cgroups, exclude_paths, include_paths, uids",
        ),
        ("scope = 3", "{file} line 1: scope must be a table, [scope]"),
        (
            'hash_share = "half"',
            "{file} line 1: hash_share = 'half' must be a part of one core from 0.01 to 1",
        ),
        (
            "hash_share = 2",
            "{file} line 1: hash_share = 2 must be a part of one core from 0.01 to 1",
        ),
        ('data_dir = "x"', "{file} line 1: data_dir = 'x' must be an absolute path"),
        (
            "metrics_port = true",
            "{file} line 1: metrics_port = True must be a port from 0 (none) to 65535",
        ),
        (
            "event_ring_bytes = 5000",
            "{file} line 1: event_ring_bytes = 5000 must be a power of two from 4096 to 1073741824",
        ),
        ("[scope]\nuids = [-1]", "{file} line 2: uids = [-1] must be a list of user ids"),
        (
            '[scope]\ncgroups = "/c"',
            "{file} line 2: cgroups = '/c' must be a list of absolute paths",
        ),
        ("a = = 1", "{file} is not valid TOML: Invalid value (at line 1, column 5)"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)

    assert str(caught.value) == sentence.format(file=tmp_path / "w.toml")


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigError) as caught:
        load({"WHENCE_CONFIG": str(missing)}, {})

    assert str(caught.value) == (
        f"{missing} cannot be read (No such file or directory): correct it or unset WHENCE_CONFIG"
    )


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read \\(it is not UTF-8\\)"):
        load({}, {"config": str(file)})


@pytest.mark.parametrize(
    ("environ", "given", "place"),
    [
        ({"WHENCE_ADDRESS": "nowhere"}, {}, "$WHENCE_ADDRESS: address = 'nowhere'"),
        ({"WHENCE_DATA_DIR": "here"}, {}, "$WHENCE_DATA_DIR: data_dir = 'here'"),
        ({}, {"metrics_port": 70000}, "--metrics-port: metrics_port = 70000"),
        ({}, {"cgroups": ["c"]}, "--cgroup: cgroups = ['c']"),
    ],
)
def test_a_mistake_elsewhere_is_named_too(
    tmp_path: Path, environ: dict[str, str], given: dict[str, object], place: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ, given, tmp_path / "absent.toml")

    assert str(caught.value).startswith(f"{place} must be ")
