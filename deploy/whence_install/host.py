"""Acts on a host: files, links, users, folders, units. Decides nothing (plan.py does)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whence_install.plan import Link, Planned


class InstallError(Exception):
    """Something that the person at the terminal can act on; the text is the sentence to show."""


@dataclass(frozen=True, slots=True)
class Host:
    """The tree that is changed, and whether a systemd runs it (else it is an image)."""

    root: Path
    is_live: bool

    def put(self, planned: Planned) -> str:
        """Write a file, whole or not at all; tells what was done: kept, same, new or changed.

        A setting that stands and differs is kept, and ours goes beside it as NAME.default.
        """
        place = self.root / planned.place
        found = _text_of(place)
        if found == planned.text:
            return "same"
        if planned.keep and found is not None:
            place = place.with_name(place.name + ".default")
        self._write(place, planned.text, planned.mode)
        if planned.keep and found is not None:
            return "kept"
        return "new" if found is None else "changed"

    def link(self, link: Link) -> None:
        """Make a command reachable; a file of somebody else in its place is left alone."""
        place = self.root / link.place
        if place.exists() and not place.is_symlink():
            raise InstallError(
                f"{place} is there and is not ours: move it away, then install again"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(link.target)
        temporary.replace(place)

    def remove(self, place: Path) -> bool:
        """Remove a file or link of ours; False when there was none."""
        found = self.root / place
        if not found.is_symlink() and not found.exists():
            return False
        found.unlink()
        return True

    def run(self, command: Sequence[str]) -> None:
        """Run a program of the host. Raises InstallError with what it said."""
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise InstallError(f"`{' '.join(command)}` failed: {said[-1] if said else 'silently'}")

    def systemctl(self, *words: str) -> None:
        """Tell the running systemd something; an image has none."""
        if self.is_live:
            self.run(["systemctl", *words])

    def restart(self, unit: str) -> None:
        """Start or restart a unit and wait until it says that it is ready.

        Raises InstallError with the unit's own last words.
        """
        try:
            self.systemctl("restart", unit)
        except InstallError as error:
            asked = ["journalctl", "-o", "cat", "-n", "20", "-u", unit, "--no-pager"]
            lines = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            own = [line for line in lines.splitlines() if unit not in line]
            said = own[-1] if own else str(error)
            raise InstallError(f"{unit} does not start: {said}") from error

    def is_active(self, unit: str) -> bool:
        """Whether a unit runs now."""
        if not self.is_live:
            return False
        asked = ["systemctl", "is-active", "--quiet", unit]
        return subprocess.run(asked, check=False).returncode == 0

    def _write(self, place: Path, text: str, mode: int) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".{place.name}.new")
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(mode)
            temporary.replace(place)
        except OSError as error:
            raise InstallError(
                f"{place} cannot be written ({error.strerror}): run this as root, with space left"
            ) from error


def this_host(root: Path = Path("/")) -> Host:
    """Return the host at a root; live only where systemd is the first process (sd_booted(3))."""
    return Host(root, root == Path("/") and Path("/run/systemd/system").is_dir())


def _text_of(place: Path) -> str | None:
    try:
        return place.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InstallError(
            f"{place} cannot be read ({error.strerror}): run this as root"
        ) from error
