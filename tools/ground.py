"""`make up` and `make down`: what they say, and how they end.

Starts and stops nothing itself: tools/instance.py does.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tools.instance import (
    DEFAULT_ADDRESS,
    DEFAULT_DATA_DIR,
    GroundError,
    Instance,
    bring_down,
    bring_up,
    client_path,
    disk_sentence,
    instance_from,
)

LINK = Path("/usr/local/bin/whence")


def link_client(instance: Instance, link: Path = LINK) -> str:
    """Put `whence` on PATH unless the name is taken; return what to type for it."""
    target = client_path(instance)
    if link.is_symlink() and not link.exists():
        link.unlink()  # of a checkout that is gone
    if not link.exists() and link.parent.is_dir():
        link.symlink_to(target)
    return "whence" if link.resolve() == target.resolve() else str(target)


def hints(instance: Instance) -> list[str]:
    """Return the settings that the next terminal needs to reach this instance."""
    wanted = {"WHENCE_ADDRESS": (instance.address, DEFAULT_ADDRESS)}
    wanted["WHENCE_DATA_DIR"] = (str(instance.data_dir), DEFAULT_DATA_DIR)
    return [f"export {name}={value}" for name, (value, usual) in wanted.items() if value != usual]


def greeting(instance: Instance, fresh: bool, command: str) -> str:
    """Return the lines that end a successful `make up`."""
    host = instance.address.rpartition(":")[0]
    lines = [
        "",
        f"capturing{'' if fresh else ' (already was)'}: the canary arrived with every edge.",
        "",
        f"  data      {instance.data_dir}",
        f"  logs      {instance.data_dir}/log/whenced.log, collector.log",
        f"  collector {instance.address}",
        f"  metrics   http://{host}:{instance.port + 1}/metrics (collector)",
        f"            http://{host}:{instance.port + 2}/metrics (daemon)",
        "",
        "Run anything as you always do, then ask any file where it came from:",
        "",
        *(f"  {hint}" for hint in hints(instance)),
        f"  {command} PATH",
        f"  {command} log",
        "",
        "`make demo` shows it on a small model; `make down` stops it.",
    ]
    return "\n".join(lines)


def summary(checklist: str) -> str:
    """Return one line for a doctor's list in which nothing fails, and its warnings below it."""
    lines = checklist.splitlines()
    count = sum(line.lstrip().startswith("✓") for line in lines)
    first = f"{count} checks of host, daemon and collector passed (`whence doctor` lists them)"
    return "\n".join([first, *warnings(lines)])


def warnings(lines: list[str]) -> list[str]:
    """Return what a doctor's list marks with "!", each with the deeper lines below it."""
    found: list[str] = []
    is_part = False
    for line in lines:
        is_part = line.startswith("  !") or (is_part and line.startswith(" " * 6))
        if is_part:
            found.append(line)
    return found


def up(instance: Instance) -> None:
    """Start, prove, and say what to type next."""
    if os.geteuid() != 0:
        message = "whence loads programs into the kernel, which takes root: run `sudo make up`."
        raise GroundError(message)
    fresh, checklist = bring_up(instance)
    print(summary(checklist))
    print(greeting(instance, fresh, link_client(instance)))


def down(instance: Instance) -> None:
    """Stop, and say what was stopped."""
    stopped = bring_down(instance)
    if stopped:
        print(f"stopped {' and '.join(stopped)}; the data stays in {instance.data_dir}.")
    else:
        print(f"nothing of {instance.data_dir} is running.")


def main() -> int:
    """Run `up` or `down`; every failure is a sentence on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do", choices=["up", "down"])
    wish = parser.parse_args().do
    try:
        instance = instance_from(os.environ)
        up(instance) if wish == "up" else down(instance)
    except GroundError as refusal:
        print(f"whence: {refusal}", file=sys.stderr)
        return 1
    except PermissionError as refusal:
        print(f"whence: {refusal.filename} is not ours to use: run it as root.", file=sys.stderr)
        return 1
    except OSError as refusal:
        print(f"whence: {disk_sentence(instance, refusal)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
