"""The daemon's command: flags, and the order of the start: first capture, then all else."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from whenced import allocation, config, host, kernel_side, plan
from whenced.data_dir import claimed
from whenced.errors import (
    ConfigError,
    DataDirBusy,
    LoadFailed,
    NoBtf,
    NotRoot,
    WhencedError,
    exit_code,
)
from whenced.libbpf import BpfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whenced.config import Settings

log: Final = logging.getLogger("whenced")


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="whenced",
        description="Watch the processes of this host; tell the collector what they did.",
        epilog="example: whenced --data-dir /var/lib/whence --address 127.0.0.1:7420",
    )
    config.add_flags(parser)
    parser.add_argument("--check", action="store_true", help="test this host, then exit")
    parser.add_argument(
        "--detach", action="store_true", help="end a capture that goes on without a daemon, exit"
    )
    parser.add_argument("--json", action="store_true", help="with --check: one JSON document")
    return parser.parse_args(argv)


def _check(as_json: bool) -> int:
    """Print every ability with its remedy; 0 when capture can start."""
    facts = host.probe()
    made = plan.make(facts)
    ok = not made.blockers
    if as_json:
        shown = {key: _plain(value) for key, value in asdict(facts).items()}
        abilities = [asdict(ability) for ability in made.abilities]
        print(json.dumps({"ok": ok, "facts": shown, "abilities": abilities}))
        return 0 if ok else 1
    for ability in made.abilities:
        mark = "ok  " if ability.ok else "FAIL" if ability.required else "miss"
        print(f"{mark} {ability.name}: {ability.detail}")
        if not ability.ok:
            print(f"     {ability.remedy}")
    return 0 if ok else 1


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _plan_for(settings: Settings) -> plan.Plan:
    """Probe and decide. Raises NotRoot, ConfigError, NoBtf or LoadFailed with the remedy."""
    if os.geteuid() != 0:
        raise NotRoot("whenced needs root to load its programs: run it with sudo")
    for group in settings.scope.cgroups:
        if not (group / "cgroup.controllers").is_file():
            raise ConfigError(
                f"{group} is no control group of the version 2 hierarchy: name a directory of it,"
                " or leave the setting out to record the whole host"
            )
    made = plan.make(
        host.probe(), [str(path) for path in settings.scope.cgroups], settings.scope.uids
    )
    for blocker in made.blockers:
        kind = NoBtf if blocker.name == "btf" else LoadFailed
        raise kind(f"this host lacks {blocker.name} ({blocker.detail}): {blocker.remedy}")
    return made


def _run(settings: Settings) -> None:
    """Raises WhencedError for everything that a user can mend."""
    began = time.monotonic()
    if os.geteuid() != 0:
        raise NotRoot("whenced needs root to load its programs: run it with sudo")
    with claimed(settings.data_dir) as place, ExitStack() as stack:
        made = _plan_for(settings)
        # The other parts take longer to import than the kernel takes to check the programs:
        # capturing waits for neither.
        rest = threading.Thread(target=importlib.import_module, args=("whenced.daemon",))
        rest.start()
        stack.callback(rest.join)
        try:
            side = kernel_side.begin(settings, made, stack, place)
        except BpfError as error:
            raise LoadFailed(f"the kernel refused the capture programs: {error}") from error
        wait_ms = round((time.monotonic() - began) * 1000)
        what = "capturing" if side.found is None else "going on with the capture"
        log.info("%s after %d ms", what, wait_ms)
        rest.join()
        from whenced.daemon import Daemon  # noqa: PLC0415 -- see above

        Daemon(settings, place, replace(side, wait_ms=wait_ms), stack).run(settings)


def _detach(data_dir: Path) -> int:
    """End a capture that no daemon goes on with; a daemon that lives is left alone."""
    try:
        with claimed(data_dir) as place:
            ended = kernel_side.remove(place)
    except DataDirBusy:
        print("a daemon runs: its capture is left alone")
        return 0
    print("the capture has ended" if ended else "no capture went on without a daemon")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `whenced`; returns the exit status."""
    flags = _flags(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        if flags.detach:
            return _detach(config.load(os.environ, vars(flags)).data_dir)
        if flags.check:
            config.load(os.environ, vars(flags))
            return _check(flags.json)
        allocation.bound()
        _run(config.load(os.environ, vars(flags)))
    except WhencedError as error:
        print(f"whenced: {error}", file=sys.stderr)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
