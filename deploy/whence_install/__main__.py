"""The command `whence-install`: put whence on this host as services, upgrade it, take it off."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from whence_install.host import Host, InstallError, this_host
from whence_install.plan import ROLES, UNITS, Plan, Sources, make

HERE: Final = Path(__file__).resolve().parent
# In the order in which they start: what is delivered to is there first.
START_ORDER: Final = UNITS
CLOSED: Final = ("root", "home")


def parser() -> argparse.ArgumentParser:
    """Return the parser of `whence-install`."""
    made = argparse.ArgumentParser(
        prog="whence-install",
        description="Put whence on this host as systemd services; again: upgrade it.",
        epilog="example: whence-install --role host --collector collector.example:7420",
    )
    made.add_argument(
        "--role",
        choices=sorted(ROLES),
        default="all",
        help="host: the daemon and its uplink; collector; all: both (default)",
    )
    made.add_argument(
        "--collector", metavar="HOST:PORT", help="where a new uplink.toml says the collector is"
    )
    made.add_argument(
        "--root", type=Path, default=Path("/"), help="install into this tree, start nothing"
    )
    made.add_argument("--no-start", action="store_true", help="enable the units, do not start them")
    made.add_argument(
        "--uninstall", action="store_true", help="stop and remove whence; data and settings stay"
    )
    return made


def sources() -> Sources:
    """Return where the files are: beside this module in a wheel, else in the repository."""
    if (HERE / "systemd").is_dir():
        return Sources(HERE / "systemd", HERE / "config", HERE / "man")
    deploy = HERE.parent
    return Sources(deploy / "systemd", deploy / "config", deploy.parent / "docs" / "man")


def main(words: Sequence[str] | None = None) -> int:
    """Install or uninstall; return the exit status."""
    options = parser().parse_args(words)
    host = this_host(options.root)
    if os.geteuid() != 0:
        print("whence-install: this needs root: run it with sudo", file=sys.stderr)
        return 2
    try:
        # Not resolved: a virtual environment's python leads out of it.
        commands = Path(sys.executable).parent
        plan = make(sources(), commands, options.role)
        if options.uninstall:
            uninstall(host, make(sources(), commands, "all"))
        else:
            install(host, plan, options.collector, start=not options.no_start)
    except InstallError as error:
        print(f"whence-install: {error}", file=sys.stderr)
        return 2
    return 0


def install(host: Host, plan: Plan, collector: str | None, *, start: bool) -> None:
    """Put every file in its place, then start what is new and restart what is old, in order."""
    _check(host, plan)
    for planned in plan.files:
        done = host.put(planned)
        if done == "kept":
            print(f"  kept      /{planned.place} (ours is beside it as .default)")
        elif done != "same":
            print(f"  {done:9} /{planned.place}")
    if collector:
        _name_collector(host, collector)
    for link in plan.links:
        host.link(link)
    root = [f"--root={host.root}"] if not host.is_live else []
    host.run(["systemd-sysusers", *root, _usr(host, "sysusers.d")])
    host.run(["systemd-tmpfiles", *root, "--create", _usr(host, "tmpfiles.d")])
    host.systemctl("daemon-reload")
    host.run(["systemctl", *root, "enable", "--quiet", *plan.units])
    if start and host.is_live:
        for unit in START_ORDER:
            if unit in plan.units:
                # A restart of what runs is the upgrade; the spool bridges the moment.
                host.restart(unit)
                print(f"  running   {unit}")
    print("Ask with: whence log    Check with: whence doctor    Logs: journalctl -u 'whence*'")


def uninstall(host: Host, plan: Plan) -> None:
    """Stop, disable and remove what install() put there; settings and data stay."""
    installed = [
        unit for unit in plan.units if (host.root / "usr/lib/systemd/system" / unit).exists()
    ]
    for unit in reversed(START_ORDER):
        if unit in installed:
            host.systemctl("disable", "--now", "--quiet", unit)
    daemon = next((Path(link.target) for link in plan.links if link.place.name == "whenced"), None)
    if host.is_live and "whenced.service" in installed and daemon is not None and daemon.exists():
        host.run([str(daemon), "--detach"])  # its programs would go on without it
    for planned in plan.files:
        if not planned.keep and host.remove(Path(planned.place)):
            print(f"  removed   /{planned.place}")
    for link in plan.links:
        if (host.root / link.place).is_symlink():
            host.remove(Path(link.place))
    host.systemctl("daemon-reload")
    print("Kept: /var/lib/whence (data) and /etc/whence (settings).")


def _check(host: Host, plan: Plan) -> None:
    """Raise InstallError before anything is touched."""
    for link in plan.links:
        if not Path(link.target).exists():
            raise InstallError(
                f"{link.target} is missing: install the package with its extras, "
                "as in pip install 'whence[daemon,collector]'"
            )
    # ProtectHome= hides these from the services, and their user may not enter them anyway.
    interpreter = Path(sys.executable).resolve()
    if interpreter.parts[1] in CLOSED or Path(sys.executable).parts[1] in CLOSED:
        raise InstallError(
            f"{interpreter} is closed to the user of the services: install into an environment of "
            "the system's interpreter, as in /usr/bin/python3 -m venv /opt/whence"
        )
    if host.root == Path("/") and not host.is_live:
        raise InstallError("no systemd runs this host: use `make up`, or --root for an image")


def _name_collector(host: Host, address: str) -> None:
    """Write the collector's address into settings that still have the default."""
    place = host.root / "etc/whence/uplink.toml"
    text = place.read_text(encoding="utf-8")
    default = 'address = "unix:/run/whence/ingest.sock"'
    if f'address = "{address}"' in text:
        return
    if default not in text:
        raise InstallError(f"{place} names a collector already: change it there")
    place.write_text(text.replace(default, f'address = "{address}"'), encoding="utf-8")


def _usr(host: Host, kind: str) -> str:
    """Name the configuration as the tool wants it: by path when live, by name below a root."""
    return f"/usr/lib/{kind}/whence.conf" if host.is_live else "whence.conf"


if __name__ == "__main__":
    sys.exit(main())
