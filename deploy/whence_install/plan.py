"""Which files a host gets, with which content, where: decided from facts, nothing touched.

Settings that stand already are a person's and are kept; everything else is ours and replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

BIN: Final = "@BIN@"
HARDENING: Final = "@HARDENING@"
UNITS: Final = ("whence-collector.service", "whence-uplink.service", "whenced.service")
# Which units make up a host's part; the daemon needs its uplink.
ROLES: Final = {
    "all": UNITS,
    "host": ("whence-uplink.service", "whenced.service"),
    "collector": ("whence-collector.service",),
}
_SETTINGS: Final = {
    "whence-collector.service": ("collector.toml", "prices.toml"),
    "whence-uplink.service": ("uplink.toml",),
    "whenced.service": ("whenced.toml",),
}
_COMMANDS: Final = {
    "whence-collector.service": ("whence-collector",),
    "whence-uplink.service": ("whence-uplink",),
    "whenced.service": ("whenced",),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the files come from: ``systemd`` and ``config`` folders, and man pages if any."""

    systemd: Path
    config: Path
    man: Path


@dataclass(frozen=True, slots=True)
class Planned:
    """One file: its place below the root, its text, and whether one that stands is kept."""

    place: PurePosixPath
    text: str
    keep: bool = False
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A command in /usr/local/bin that leads to the one of the environment."""

    place: PurePosixPath
    target: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an installation puts on a host."""

    files: tuple[Planned, ...]
    links: tuple[Link, ...]
    units: tuple[str, ...]


def make(sources: Sources, commands: Path, role: str) -> Plan:
    """Decide; ``commands`` is the folder of the environment's commands. Raises KeyError, OSError.

    OSError means that the installation this runs from is not whole.
    """
    units = ROLES[role]
    files = [_unit(sources.systemd, name, commands) for name in units]
    files.append(_copied(sources.systemd / "whence.sysusers", "usr/lib/sysusers.d/whence.conf"))
    files.append(_copied(sources.systemd / "whence.tmpfiles", "usr/lib/tmpfiles.d/whence.conf"))
    for unit in units:
        for name in _SETTINGS[unit]:
            text = (sources.config / name).read_text(encoding="utf-8")
            files.append(Planned(PurePosixPath("etc/whence", name), text, keep=True))
    files.extend(_man_pages(sources.man))
    names = ["whence", *(command for unit in units for command in _COMMANDS[unit])]
    links = [Link(PurePosixPath("usr/local/bin", name), str(commands / name)) for name in names]
    return Plan(tuple(files), tuple(links), units)


def _unit(folder: Path, name: str, commands: Path) -> Planned:
    text = (folder / name).read_text(encoding="utf-8")
    hardening = (folder / "hardening.conf").read_text(encoding="utf-8")
    rules = "\n".join(line for line in hardening.splitlines() if not line.startswith("#"))
    text = text.replace(HARDENING, rules).replace(BIN, str(commands))
    return Planned(PurePosixPath("usr/lib/systemd/system", name), text)


def _copied(source: Path, place: str) -> Planned:
    return Planned(PurePosixPath(place), source.read_text(encoding="utf-8"))


def _man_pages(folder: Path) -> list[Planned]:
    """Every page of docs/man, by the section that its name ends in."""
    pages = sorted(folder.glob("*.[158]")) if folder.is_dir() else []
    return [
        Planned(
            PurePosixPath(f"usr/local/share/man/man{page.suffix[1:]}", page.name),
            page.read_text(encoding="utf-8"),
        )
        for page in pages
    ]
