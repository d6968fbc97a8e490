"""Settings of the relay: one TOML file, the environment, flags. Looks at nothing else.

Read by a process that has no privilege; paths in it are opened with its own rights.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from whenced.config import UNIX, split_address
from whenced.errors import ConfigError

DEFAULT_FILE: Final = Path("/etc/whence/uplink.toml")
DEFAULT_METRICS_PORT: Final = 7422
RUNTIME: Final = Path("/run/whence")


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of mutual TLS, as `whence-collector enroll HOST` makes them."""

    ca: Path
    certificate: Path
    key: Path
    # The name in the collector's certificate, where the address is not one of its names.
    server_name: str = ""

    def files(self) -> tuple[Path, Path, Path]:
        """Return the three files."""
        return self.ca, self.certificate, self.key


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How this relay runs."""

    # The collector, host:port; or unix:PATH, the socket of one on this host.
    address: str = "127.0.0.1:7420"
    # Where the daemon delivers.
    listen: Path = RUNTIME / "uplink.sock"
    # Where the daemon tells its metrics.
    daemon_metrics: Path = RUNTIME / "metrics.sock"
    # Prometheus on loopback, for both; 0: none. By default the collector's port + 2.
    metrics_port: int | None = None
    tls: Tls | None = None

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where metrics are served (loopback), None when they are not."""
        if self.metrics_port == 0:
            return None
        if self.address.startswith(UNIX):
            return "127.0.0.1", self.metrics_port or DEFAULT_METRICS_PORT
        return "127.0.0.1", self.metrics_port or split_address(self.address)[1] + 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of `whence-uplink`."""
    made = argparse.ArgumentParser(
        prog="whence-uplink",
        description="Pass the stream of this host's whenced to the collector.",
        epilog="example: whence-uplink --config /etc/whence/uplink.toml",
    )
    made.add_argument("--config", metavar="FILE", help=f"settings (default {DEFAULT_FILE})")
    made.add_argument("--address", metavar="HOST:PORT", help="gRPC address of the collector")
    made.add_argument("--listen", metavar="PATH", help="socket on which the daemon delivers")
    made.add_argument("--check", action="store_true", help="test the settings, then exit")
    return made


def load(
    environ: Mapping[str, str], flags: Mapping[str, Any], default_file: Path = DEFAULT_FILE
) -> RelaySettings:
    """Work out the settings; a flag wins over the environment, that over the file.

    Raises ConfigError with the place and the remedy.
    """
    asked = flags.get("config")
    file = Path(asked) if asked else default_file
    values = _read(file) if asked or file.exists() else {}
    if environ.get("WHENCE_ADDRESS"):
        values["address"] = environ["WHENCE_ADDRESS"]
    values.update({key: flags[key] for key in ("address", "listen") if flags.get(key)})
    return _settings(str(file), values)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}): correct --config or its permissions"
        ) from error
    except ValueError as error:  # TOML and UTF-8 alike
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _settings(name: str, values: dict[str, Any]) -> RelaySettings:
    _only(name, values, RelaySettings)
    tls = values.pop("tls", None)
    made: dict[str, Any] = {key: _plain(name, key, value) for key, value in values.items()}
    if tls is not None:
        if not isinstance(tls, dict):
            raise ConfigError(f"{name}: tls must be a table, [tls]")
        _only(name, tls, Tls)
        missing = [key for key in ("ca", "certificate", "key") if key not in tls]
        if missing:
            raise ConfigError(f"{name}: [tls] lacks {', '.join(missing)}: name all three files")
        made["tls"] = Tls(**{key: _plain(name, key, value) for key, value in tls.items()})
    return RelaySettings(**made)


def _only(name: str, table: dict[str, Any], kind: type[RelaySettings | Tls]) -> None:
    known = sorted(field.name for field in fields(kind))
    for key in table:
        if key not in known:
            raise ConfigError(f"{name}: unknown setting {key!r}, known are {', '.join(known)}")


def _plain(name: str, key: str, value: object) -> Any:
    if key == "metrics_port":
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
            return value
        raise ConfigError(f"{name}: {key} = {value!r} must be a port from 0 (none) to 65535")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name}: {key} = {value!r} must be a text")
    if key == "address" and value.startswith(UNIX):
        return value
    if key == "address":
        try:
            split_address(value)
        except ValueError as error:
            raise ConfigError(f"{name}: address = {value!r} must be host:port") from error
        return value
    if key == "server_name":
        return value
    if not Path(value).is_absolute():
        raise ConfigError(f"{name}: {key} = {value!r} must be an absolute path")
    return Path(value)
