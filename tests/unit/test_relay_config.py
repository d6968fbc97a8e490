"""Settings of the relay become one value, or one sentence with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from whenced.errors import ConfigError
from whenced.relay_config import RelaySettings, Tls, load


def settings_of(text: str, place: Path) -> RelaySettings:
    file = place / "uplink.toml"
    file.write_text(text)
    return load({}, {"config": str(file)})


def test_defaults_stay_on_this_host(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path / "absent")

    assert settings == RelaySettings()
    assert settings.metrics_address == ("127.0.0.1", 7422)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "uplink.toml"
    file.write_text('address = "a:1"\nlisten = "/run/a.sock"\n')

    by_environment = load({"WHENCE_ADDRESS": "b:2"}, {"config": str(file)})
    by_flag = load({"WHENCE_ADDRESS": "b:2"}, {"config": str(file), "address": "c:3"})

    assert (by_environment.address, by_environment.listen) == ("b:2", Path("/run/a.sock"))
    assert by_flag.address == "c:3"


def test_all_files_of_mutual_tls(tmp_path: Path) -> None:
    text = '[tls]\nca = "/t/ca.pem"\ncertificate = "/t/host.pem"\nkey = "/t/host.key"\n'

    tls = Tls(Path("/t/ca.pem"), Path("/t/host.pem"), Path("/t/host.key"))
    assert settings_of(text, tmp_path).tls == tls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('adress = "a:1"', "unknown setting 'adress'"),
        ('address = "a"', "address = 'a' must be host:port"),
        ('listen = "here"', "listen = 'here' must be an absolute path"),
        ("metrics_port = 70000", "metrics_port = 70000 must be a port from 0 (none) to 65535"),
        ("tls = 1", "tls must be a table"),
        ('[tls]\nca = "/t/ca.pem"', "[tls] lacks certificate, key"),
        ("address = ", "is not valid TOML"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(text, tmp_path)

    assert said in str(caught.value)
