"""Settings of the collector: defaults, a TOML file, the environment, flags, as one frozen value.

Reads that one file and nothing else. A new setting is a field of Config and a rule in _RULES.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence_collector.errors import InvalidSetting
from whence_collector.launcher_table import STANDARD, LauncherTable, extended

DEFAULT_ADDRESS = "127.0.0.1:7420"
DEFAULT_DATA_DIR = "/var/lib/whence"
DEFAULT_PRICES = "/etc/whence/prices.toml"
DEFAULT_FILE = Path("/etc/whence/collector.toml")
HIGHEST_PORT = 65_534  # the port after it serves the metrics


@dataclass(frozen=True, slots=True)
class Config:
    """Where the collector listens and where it keeps its data."""

    host: str
    port: int  # 0: any free port, and any other for the metrics
    data_dir: Path
    instances_dir: Path  # where processes of whence announce themselves to daemons
    prices: Path = Path(DEFAULT_PRICES)  # need not exist
    # With mutual TLS, where daemons deliver; None: at the address itself, in the clear.
    ingest_address: str | None = None
    # Where the uplink of this very host delivers; with it, nobody may at the address itself.
    ingest_socket: Path | None = None
    # With server TLS, where people on other hosts ask; None: at the address itself alone.
    query_address: str | None = None
    # More names under which the two are reached, for the certificate.
    tls_names: tuple[str, ...] = ()
    # Days after which the detail of a run is folded (retention.py); 0: never.
    keep_raw_days: int = 0
    # Rows that one host may deliver in the long run; 0: as many as it likes.
    host_rows_per_second: int = 50_000
    # Where events about requests and money are posted; None: nowhere.
    webhook: str | None = None
    # Programs that start work, with a site's own ([[launchers]]) before the rest.
    launchers: LauncherTable = STANDARD
    only_check: bool = False  # --check: say whether the settings can be used, serve nothing

    @property
    def address(self) -> str:
        """The gRPC address as HOST:PORT."""
        return f"{self.host}:{self.port}"

    @property
    def only_enrolled(self) -> bool:
        """Whether deliveries need a certificate or the socket."""
        return bool(self.ingest_address or self.ingest_socket)

    @property
    def metrics_port(self) -> int:
        """The port of the metrics page: the next one."""
        return self.port + 1 if self.port else 0

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.data_dir / "collector" / "whence.duckdb"

    @property
    def pid_file(self) -> Path:
        """The file that holds the collector's process id while it runs."""
        return self.data_dir / "run" / "collector.pid"

    @property
    def tls_dir(self) -> Path:
        """Where the authority and the collector's own certificate are."""
        return self.data_dir / "collector" / "tls"


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT (an IPv6 host in brackets keeps them).

    Raises InvalidSetting where there is no port or it is no number in 0..65534.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit()):
        raise InvalidSetting(
            f"address {address!r} is not HOST:PORT; write it like {DEFAULT_ADDRESS}"
        )
    if int(port) > HIGHEST_PORT:
        raise InvalidSetting(
            f"port {port} of address {address!r} is out of range; use 1 to {HIGHEST_PORT}"
        )
    return host, int(port)


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of `whence-collector` when it serves."""
    made = argparse.ArgumentParser(
        prog="whence-collector",
        description="Keeps what daemons saw and answers where files came from. "
        "With a word first it does a chore instead: `whence-collector enroll --help`.",
        epilog="example: whence-collector --address 127.0.0.1:7420 --data-dir /var/lib/whence",
    )
    made.add_argument("--config", metavar="FILE", help=f"settings (default {DEFAULT_FILE})")
    made.add_argument(
        "--address",
        default=environment.get("WHENCE_ADDRESS") or None,
        help=f"HOST:PORT to listen on (WHENCE_ADDRESS, default {DEFAULT_ADDRESS}); "
        "metrics: PORT + 1",
    )
    made.add_argument(
        "--data-dir",
        default=environment.get("WHENCE_DATA_DIR") or None,
        help=f"directory of the database (WHENCE_DATA_DIR, default {DEFAULT_DATA_DIR})",
    )
    made.add_argument(
        "--prices",
        metavar="FILE",
        default=environment.get("WHENCE_PRICES") or None,
        help=f"the price file (WHENCE_PRICES, default {DEFAULT_PRICES}); need not exist",
    )
    made.add_argument("--check", action="store_true", help="test the settings, then exit")
    return made


def parse(
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    default_file: Path = DEFAULT_FILE,
) -> Config:
    """Build the configuration: flags win over the environment, that over the file.

    Raises InvalidSetting with the place and the remedy, and SystemExit from argparse for --help
    and unknown flags (exit codes 0 and 2).
    """
    parsed = parser(environment).parse_args(arguments)
    file = Path(parsed.config) if parsed.config else default_file
    settings = read(file) if parsed.config or file.exists() else {}
    host, port = split_address(parsed.address or settings.pop("address", DEFAULT_ADDRESS))
    settings.pop("address", None)
    data_dir = Path(parsed.data_dir or settings.pop("data_dir", DEFAULT_DATA_DIR))
    settings.pop("data_dir", None)
    if not data_dir.is_absolute():
        raise InvalidSetting(f"data directory {str(data_dir)!r} is relative; give an absolute path")
    if parsed.prices:
        settings["prices"] = Path(parsed.prices)
    instances_dir = Path("/run/whence/instances")
    return Config(host, port, data_dir, instances_dir, only_check=parsed.check, **settings)


def read(file: Path) -> dict[str, Any]:
    """Return the checked settings of a TOML file by name. Raises InvalidSetting."""
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise InvalidSetting(
            f"{file} cannot be read ({error.strerror}); correct --config or its permissions"
        ) from error
    except ValueError as error:  # of UTF-8 and of TOML
        raise InvalidSetting(f"{file} is not valid TOML: {error}; correct it") from error
    return {key: _checked(file, text, key, value) for key, value in document.items()}


def _checked(file: Path, text: str, key: str, value: object) -> Any:
    place = _place(file, text, key)
    if key not in _RULES:
        close = difflib.get_close_matches(key, _RULES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(_RULES))}"
        raise InvalidSetting(f"{place}: unknown setting {key!r}; {hint}")
    rule, wanted = _RULES[key]
    try:
        return rule(value)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"{place}: {key} = {value!r} must be {wanted}") from error


def _place(file: Path, text: str, key: str) -> str:
    """File and line of a key; tomllib keeps no lines, so the first that looks right."""
    pattern = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
    lines = enumerate(text.splitlines(), start=1)
    return next(
        (f"{file} line {number}" for number, line in lines if pattern.match(line)), str(file)
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _absolute(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError
    return path


def _listened(value: object) -> str:
    try:
        split_address(_text(value))
    except InvalidSetting as error:
        raise ValueError(value) from error
    return _text(value)


def _days(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not 0 <= value <= 36_500:
        raise ValueError
    return value


def _rate(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not 0 <= value <= 100_000_000:
        raise ValueError
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(each) for each in value)


def _url(value: object) -> str:
    if not _text(value).startswith(("http://", "https://")):
        raise ValueError
    return _text(value)


def _launchers(value: object) -> LauncherTable:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise TypeError
    return extended(value)


_RULES: dict[str, tuple[Callable[[object], Any], str]] = {
    "address": (_text, "HOST:PORT"),
    "data_dir": (_absolute, "an absolute path"),
    "launchers": (_launchers, "tables of role, names and words"),
    "webhook": (_url, "an http or https address"),
    "ingest_address": (_listened, "HOST:PORT, another than that of address"),
    "keep_raw_days": (_days, "a number of days, 0 for ever"),
    "host_rows_per_second": (_rate, "a number of rows, 0 for no limit"),
    "ingest_socket": (_absolute, "an absolute path"),
    "query_address": (_listened, "HOST:PORT, another than that of address"),
    "tls_names": (_names, "a list of host names or addresses"),
    "prices": (_absolute, "an absolute path"),
}
