"""Settings: defaults, then the file, then the environment, then flags, into one frozen dataclass.

Pure but for reading the one file. May not look at the host: host.py and plan.py do.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import pwd
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whenced.errors import ConfigError
from whenced.gpu_devices import StandIn, parse_stand_in

DEFAULT_FILE = Path("/etc/whence/whenced.toml")
PAGE_BYTES = 4096
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is recorded. Empty tuples do not restrict; the default is the whole host."""

    # Directories of the version 2 hierarchy; a process below any of them is recorded.
    cgroups: tuple[Path, ...] = ()
    # Real user ids.
    uids: tuple[int, ...] = ()
    # Path prefixes, whole components; exclusion wins.
    include_paths: tuple[Path, ...] = ()
    # What is read there is the state of the kernel, not a file; /dev stays for /dev/shm.
    exclude_paths: tuple[Path, ...] = (Path("/proc"), Path("/sys"))


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """How GPUs are watched, where there are any."""

    # Off: neither holds nor activity. Nothing is loaded where there is no GPU anyway.
    enabled: bool = True
    # NVML keeps the driver awake and blocks resets and MIG changes while it is open.
    nvml: bool = True
    # Device nodes that play GPUs, for tests: "MAJOR:MINOR uvm", "MAJOR:MINOR gpu UUID MODEL".
    stand_ins: tuple[StandIn, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the collector may ask of this host."""

    # Obey orders to end the runs of a request whose budget is spent.
    enforce: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How this daemon runs."""

    # The place for the state of a system service (Filesystem Hierarchy Standard 5.8).
    data_dir: Path = Path("/var/lib/whence")
    # The collector, host:port; on this host until somebody says otherwise: nothing leaves it.
    # As a service it is unix:PATH, the relay's socket: then this process opens no network.
    address: str = "127.0.0.1:7420"
    # Prometheus on loopback; None is the address's port + 2 (the collector's own is + 1), 0 none.
    metrics_port: int | None = None
    # Instead of the port: a Unix socket, from which the relay takes the page.
    metrics_socket: Path | None = None
    scope: Scope = field(default_factory=Scope)
    gpu: GpuSettings = field(default_factory=GpuSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    # Part of one core that hashing may use: half leaves any program the larger part of any core.
    hash_share: float = 0.5
    # As whom contents are read, with the one capability to read them; None: as the daemon itself.
    hasher_user: str | None = None
    # Days of a busy host without its collector, yet small on any disk that holds training data.
    spool_limit_bytes: int = 2 << 30
    # What capture makes in some minutes: enough to see a full disk emptied.
    spool_memory_bytes: int = 64 << 20
    # The programs in the kernel go on when this process ends or dies, and the next one goes on with
    # what they saw meanwhile: no gap. Off: capture ends with the process, and a gap is told.
    keep_capturing: bool = True
    # Births, programs and ends, 264 bytes each: 63,550 bridge 4 s of 5,000 programs a second. Half
    # as much again is for what they were called with.
    life_ring_bytes: int = 16 << 20
    # First touches: 63,550 bridge 0.6 s of a flood of 100,000 a second. Half as much again is for
    # changes of names.
    event_ring_bytes: int = 16 << 20
    # Paths that are long or stand in a folder that was not told lately, about 128 bytes each.
    text_ring_bytes: int = 4 << 20
    # Pairs of program and file that are counted between two looks, 112 bytes each, twice.
    count_table_rows: int = 1 << 16

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where metrics are served (loopback), None when they are not."""
        if self.metrics_port == 0 or self.metrics_socket or self.address.startswith(UNIX):
            return None
        return "127.0.0.1", self.metrics_port or split_address(self.address)[1] + 2


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})", address)
    # The two ports behind it are for metrics.
    if match is None or not 1 <= int(match[3]) <= 65533:
        raise ValueError(address)
    return match[1] or match[2], int(match[3])


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that load() understands; each is None when not given."""
    parser.add_argument("--config", metavar="FILE", help=f"settings (default {DEFAULT_FILE})")
    parser.add_argument("--data-dir", metavar="DIR", help="spool, socket and caches")
    parser.add_argument("--address", metavar="HOST:PORT", help="gRPC address of the collector")
    parser.add_argument(
        "--metrics-port", metavar="PORT", type=int, help="Prometheus on 127.0.0.1, 0 for none"
    )
    parser.add_argument(
        "--cgroup",
        metavar="DIR",
        action="append",
        dest="cgroups",
        help="record only what runs below this control group (may be repeated)",
    )


def load(
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    default_file: Path = DEFAULT_FILE,
) -> Settings:
    """Work out the settings for this start. Raises ConfigError with the place and the remedy.

    ``flags`` are the parsed arguments of add_flags(); None means not given, other keys are
    ignored. A file that was asked for must exist; the default one need not.
    """
    asked = flags.get("config") or environ.get("WHENCE_CONFIG")
    file = Path(asked) if asked else default_file
    values: dict[str, Any] = {}
    if asked or file.exists():
        values = _Reader(str(file), _read(file)).settings()
    for name, origin in (("WHENCE_DATA_DIR", "data_dir"), ("WHENCE_ADDRESS", "address")):
        if environ.get(name):
            values[origin] = _checked(f"${name}", origin, environ[name])
    for name in ("data_dir", "address", "metrics_port"):
        if flags.get(name) is not None:
            values[name] = _checked(f"--{name.replace('_', '-')}", name, flags[name])
    if flags.get("cgroups"):
        scope = values.get("scope", Scope())
        cgroups = _checked("--cgroup", "cgroups", flags["cgroups"])
        values["scope"] = dataclasses.replace(scope, cgroups=cgroups)
    return Settings(**values)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        problem = error.strerror
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    raise ConfigError(f"{file} cannot be read ({problem}): correct it or unset WHENCE_CONFIG")


class _Reader:
    """One TOML text, with the name that messages call it by."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text

    def settings(self) -> dict[str, Any]:
        """Give checked values by field of Settings. Raises ConfigError."""
        try:
            document = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self._name} is not valid TOML: {error}") from error
        tables = {name: document.pop(name, None) for name in _TABLES}
        values = self._table(document, _fields(Settings) - set(_TABLES))
        for name, table in tables.items():
            if table is None:
                continue
            if not isinstance(table, dict):
                raise ConfigError(f"{self._place(name)}: {name} must be a table, [{name}]")
            kind = _TABLES[name]
            values[name] = kind(**self._table(table, _fields(kind)))
        return values

    def _table(self, table: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
        for key in table:
            if key not in known:
                raise ConfigError(
                    f"{self._place(key)}: unknown setting {key!r}, {_hint(key, known)}"
                )
        return {key: _checked(self._place(key), key, value) for key, value in table.items()}

    def _place(self, key: str) -> str:
        """File and line of a key; tomllib keeps no lines, so the first that looks right."""
        pattern = re.compile(rf"\s*(\[\s*)?[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
        for number, line in enumerate(self._text.splitlines(), start=1):
            if pattern.match(line):
                return f"{self._name} line {number}"
        return self._name


# Tables of the file and what they become.
_TABLES: dict[str, type[Scope | GpuSettings | PolicySettings]] = {
    "scope": Scope,
    "gpu": GpuSettings,
    "policy": PolicySettings,
}


def _fields(kind: type[Settings | Scope | GpuSettings | PolicySettings]) -> frozenset[str]:
    return frozenset(f.name for f in dataclasses.fields(kind))


def _hint(key: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(sorted(known))}"


def _checked(place: str, key: str, value: object) -> Any:
    """Give the value as its field wants it. Raises ConfigError."""
    rule, wanted = _RULES[key]
    try:
        return rule(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {key} = {value!r} must be {wanted}") from error


def _absolute(value: object) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    path = Path(value)
    if not path.is_absolute():
        raise ValueError
    return path


def _paths(value: object) -> tuple[Path, ...]:
    return tuple(_absolute(each) for each in _list(value))


def _uids(value: object) -> tuple[int, ...]:
    return tuple(_whole(0, 0xFFFFFFFE)(each) for each in _list(value))


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def rule(value: object) -> int:
        # bool is an int to Python, not to a reader of the file.
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError
        if not least <= value <= most:
            raise ValueError
        return value

    return rule


def _ring(value: object) -> int:
    size = _whole(PAGE_BYTES, 1 << 30)(value)
    if size & (size - 1):
        raise ValueError
    return size


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _stand_ins(value: object) -> tuple[StandIn, ...]:
    return tuple(parse_stand_in(str(each)) for each in _list(value))


def _share(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    if not 0.01 <= value <= 1:
        raise ValueError
    return float(value)


def _user(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    try:
        return pwd.getpwnam(value).pw_name
    except KeyError as error:
        raise ValueError(value) from error


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value.startswith(UNIX):
        _absolute(value.removeprefix(UNIX))
    else:
        split_address(value)
    return value


_PATHS = (_paths, "a list of absolute paths")
# The kernel takes ring sizes that are a power of two and a multiple of its page.
_RING = (_ring, f"a power of two from {PAGE_BYTES} to {1 << 30}")
_RULES: dict[str, tuple[Callable[[object], Any], str]] = {
    "enabled": (_flag, "true or false"),
    "enforce": (_flag, "true or false"),
    "nvml": (_flag, "true or false"),
    "stand_ins": (_stand_ins, 'a list of "MAJOR:MINOR uvm" and "MAJOR:MINOR gpu UUID MODEL"'),
    "data_dir": (_absolute, "an absolute path"),
    "address": (_address, "host:port with a port from 1 to 65533, or unix:/absolute/path"),
    "metrics_port": (_whole(0, 65535), "a port from 0 (none) to 65535"),
    "metrics_socket": (_absolute, "an absolute path"),
    "hasher_user": (_user, "the name of a user of this host"),
    "hash_share": (_share, "a part of one core from 0.01 to 1"),
    "spool_limit_bytes": (_whole(1 << 20, 1 << 50), "a number of bytes of at least 1048576"),
    "spool_memory_bytes": (_whole(1 << 20, 1 << 40), "a number of bytes of at least 1048576"),
    "keep_capturing": (_flag, "true or false"),
    "life_ring_bytes": _RING,
    "event_ring_bytes": _RING,
    "text_ring_bytes": _RING,
    "count_table_rows": _RING,
    "cgroups": _PATHS,
    "uids": (_uids, "a list of user ids"),
    "include_paths": _PATHS,
    "exclude_paths": _PATHS,
}
