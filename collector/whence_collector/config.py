"""Flags and environment of the collector as one frozen value; reads nothing else."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whence_collector.errors import InvalidSetting

DEFAULT_ADDRESS = "127.0.0.1:7420"
DEFAULT_DATA_DIR = "/var/lib/whence"
HIGHEST_PORT = 65_534  # the port after it serves the metrics


@dataclass(frozen=True, slots=True)
class Config:
    """Where the collector listens and where it keeps its data."""

    host: str
    port: int  # 0: any free port, and any other for the metrics
    data_dir: Path
    instances_dir: Path  # where processes of whence announce themselves to daemons

    @property
    def address(self) -> str:
        """The gRPC address as HOST:PORT."""
        return f"{self.host}:{self.port}"

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


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Config:
    """Build the configuration; flags win over the environment, the environment over defaults.

    Raises InvalidSetting for an address that is not HOST:PORT or a relative data directory, and
    SystemExit from argparse for --help and unknown flags (exit codes 0 and 2).
    """
    parser = argparse.ArgumentParser(
        prog="whence-collector",
        description="Keeps what daemons saw and answers where files came from.",
        epilog="example: whence-collector --address 127.0.0.1:7420 --data-dir /var/lib/whence",
    )
    parser.add_argument(
        "--address",
        default=environment.get("WHENCE_ADDRESS") or DEFAULT_ADDRESS,
        help="HOST:PORT to listen on (WHENCE_ADDRESS, default %(default)s); metrics: PORT + 1",
    )
    parser.add_argument(
        "--data-dir",
        default=environment.get("WHENCE_DATA_DIR") or DEFAULT_DATA_DIR,
        help="directory of the database (WHENCE_DATA_DIR, default %(default)s)",
    )
    parsed = parser.parse_args(arguments)
    host, port = split_address(parsed.address)
    data_dir = Path(parsed.data_dir)
    if not data_dir.is_absolute():
        raise InvalidSetting(
            f"data directory {parsed.data_dir!r} is relative; give an absolute path"
        )
    return Config(host, port, data_dir, Path("/run/whence/instances"))
