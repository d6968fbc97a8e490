"""Flags and environment become one value, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence_collector.config import Config, parse, split_address
from whence_collector.errors import InvalidSetting


def test_defaults() -> None:
    config = parse([], {})

    assert config == Config(
        "127.0.0.1", 7420, Path("/var/lib/whence"), Path("/run/whence/instances")
    )


def test_the_environment_wins_over_defaults_and_flags_over_the_environment() -> None:
    environment = {"WHENCE_ADDRESS": "127.0.0.1:9000", "WHENCE_DATA_DIR": "/data/a"}

    config = parse(["--data-dir", "/data/b"], environment)

    assert (config.address, config.data_dir) == ("127.0.0.1:9000", Path("/data/b"))


def test_an_empty_variable_counts_as_absent() -> None:
    config = parse([], {"WHENCE_ADDRESS": "", "WHENCE_DATA_DIR": ""})

    assert (config.address, config.data_dir) == ("127.0.0.1:7420", Path("/var/lib/whence"))


def test_files_and_metrics_port_follow_from_the_two_settings() -> None:
    config = parse(["--address", "0.0.0.0:80", "--data-dir", "/d"], {})

    assert config.database == Path("/d/collector/whence.duckdb")
    assert config.pid_file == Path("/d/run/collector.pid")
    assert config.metrics_port == 81


def test_port_zero_asks_for_any_port_for_both() -> None:
    config = parse(["--address", "127.0.0.1:0"], {})

    assert (config.port, config.metrics_port) == (0, 0)


def test_an_address_of_version_six_keeps_its_brackets() -> None:
    assert split_address("[::1]:7420") == ("[::1]", 7420)


@pytest.mark.parametrize(
    "address", ["", "7420", "localhost", ":7420", "host:", "host:x", "host:-1"]
)
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        split_address(address)

    assert str(caught.value) == (
        f"address {address!r} is not HOST:PORT; write it like 127.0.0.1:7420"
    )


def test_a_port_that_leaves_none_for_the_metrics_is_refused() -> None:
    with pytest.raises(InvalidSetting) as caught:
        split_address("host:65535")

    assert "use 1 to 65534" in str(caught.value)


def test_a_relative_data_directory_is_refused() -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse(["--data-dir", "here"], {})

    assert str(caught.value) == "data directory 'here' is relative; give an absolute path"


def file_of(text: str, place: Path) -> Path:
    file = place / "collector.toml"
    file.write_text(text)
    return file


def test_the_file_is_the_weakest_word(tmp_path: Path) -> None:
    file = file_of('address = "0.0.0.0:7"\ndata_dir = "/data/file"\n', tmp_path)

    config = parse(["--config", str(file)], {"WHENCE_ADDRESS": "127.0.0.1:9"})

    assert (config.address, config.data_dir) == ("127.0.0.1:9", Path("/data/file"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('\nadress = "a:1"', "line 2: unknown setting 'adress'; did you mean 'address'?"),
        ('data_dir = "here"', "line 1: data_dir = 'here' must be an absolute path"),
        ("address = 7", "line 1: address = 7 must be HOST:PORT"),
        ("address", "is not valid TOML"),
    ],
)
def test_what_the_file_may_not_say_is_named_with_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse(["--config", str(file_of(text, tmp_path))], {})

    assert said in str(caught.value)


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse(["--config", str(tmp_path / "absent.toml")], {})

    assert "absent.toml cannot be read (No such file or directory)" in str(caught.value)
