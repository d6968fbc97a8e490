"""A machine of the tests' own: a real systemd, booted by systemd-nspawn over an overlay of ``/``.

Everything that is written stays in memory and goes with it. The kernel is this one, so a daemon
inside really captures; it is told to observe one control group of the machine alone.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOT_S = 60.0
COMMAND_S = 120.0
# The distribution's: an interpreter in somebody's home is closed to services.
PYTHON = "/usr/bin/python3"
SITE = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
OBSERVED = "observed"


@dataclass(slots=True)
class Machine:
    """A booted machine; ``run`` executes in it as root."""

    place: Path  # holds the overlay
    name: str
    _keeper: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def root(self) -> Path:
        """Its file system, seen from here."""
        return self.place / "root"

    def boot(self) -> None:
        """Start it and wait until its first process takes orders."""
        words = [
            "systemd-nspawn", "--quiet", "--boot", "--directory", str(self.root),
            "--machine", self.name, "--register=no", "--keep-unit",
            "--capability=all", "--private-users=no", "--private-network",
            # nspawn's own filter refuses bpf(2) whatever the capabilities are.
            "--system-call-filter=bpf perf_event_open",
            "--bind=/sys/fs/bpf", "--bind=/sys/kernel/tracing",
            f"--bind-ro={SITE}:/opt/dependencies",
            "systemd.unit=multi-user.target",
        ]  # fmt: skip
        with (self.place / "console.log").open("ab") as console:
            self._keeper = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        self.await_boot()

    def await_boot(self) -> None:
        """Wait until its first process is done with booting."""
        deadline_s = time.monotonic() + BOOT_S
        while time.monotonic() < deadline_s:
            if self.leader() and self._is_up():
                return
            time.sleep(0.2)
        console = (self.place / "console.log").read_text(errors="replace")
        message = f"the machine did not boot within {BOOT_S:.0f} s:\n{console[-2000:]}"
        raise AssertionError(message)

    def leader(self) -> int:
        """Its first process, by our count; 0 when there is none."""
        assert self._keeper is not None
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text()
        return int(children.split()[0]) if children.split() else 0

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Execute a command in the machine as root."""
        done = self._enter(command, COMMAND_S)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def shell(self, script: str) -> str:
        """Execute a script of the shell in the machine; return what it printed."""
        return self.run("sh", "-ec", script).stdout

    def reboot(self) -> None:
        """Switch it off as a person would, then on.

        Not by `systemctl reboot`: nspawn boots again only where /run is no disk.
        """
        assert self._keeper is not None
        self.run("systemctl", "poweroff", check=False)
        self._keeper.wait(BOOT_S)
        self.boot()

    def power_off(self) -> None:
        """End it and wait; what does not end is killed."""
        if self._keeper is None:
            return
        self._keeper.send_signal(signal.SIGTERM)  # an orderly shutdown (systemd-nspawn(1))
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(30.0)
        self._keeper.kill()
        self._keeper.wait()

    def _enter(self, command: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str]:
        words = [
            "nsenter",
            "-t",
            str(self.leader()),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
        ]
        return subprocess.run(
            [*words, "env", "-i", *ENVIRONMENT, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )

    def _is_up(self) -> bool:
        with suppress(subprocess.TimeoutExpired):
            said = self._enter(("systemctl", "is-system-running"), 10.0).stdout.strip()
            return said in ("running", "degraded")
        return False


@contextmanager
def booted(name: str) -> Iterator[Machine]:
    """Make a machine without this one's services, boot it, and leave nothing of it behind."""
    place = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    machine = Machine(place, name)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(place)], check=True)
    try:
        for folder in ("upper", "work", "root"):
            (place / folder).mkdir()
        layers = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", layers, str(machine.root)]
        subprocess.run(mount, check=True)
        try:
            _empty(machine.root)
            machine.boot()
            yield machine
            machine.power_off()
        finally:
            machine.power_off()
            subprocess.run(["umount", "--lazy", str(machine.root)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def _empty(root: Path) -> None:
    """Take away what this machine's administrator enabled, and an older whence."""
    for wanted in (root / "etc/systemd/system").glob("*.wants/*"):
        wanted.unlink()
    for folder in ("var/lib/whence", "etc/whence", "opt/whence"):
        shutil.rmtree(root / folder, ignore_errors=True)
    (root / "etc/machine-id").write_text("")  # a machine of its own
    drop_in = root / "etc/systemd/system/whenced.service.d"
    drop_in.mkdir(parents=True)
    # The group is gone after each boot, and a daemon told to observe it would rightly refuse.
    (drop_in / "scope.conf").write_text(
        f"[Service]\nExecStartPre=+/bin/mkdir -p {group_of(root)}\n"
    )


def group_of(root: Path) -> str:
    """Name the control group that the machine's daemon observes, as the machine sees it."""
    del root  # the hierarchy is laid out as this machine's is
    unified = Path("/sys/fs/cgroup/unified")
    return str((unified if unified.is_dir() else unified.parent) / OBSERVED)


def build_wheel(into: Path) -> Path:
    """Build the wheel of this tree, as `make wheel` does."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, str(into), str(ROOT)], check=True, capture_output=True)
    (wheel,) = into.glob("whence-*.whl")
    return wheel


def put_wheel(machine: Machine, wheel: Path) -> None:
    """Install a wheel into /opt/whence of the machine, its dependencies from the tests' own."""
    shutil.copy(wheel, machine.root / "opt")
    machine.run(PYTHON, "-m", "venv", "--without-pip", "/opt/whence")
    pip = ["/opt/whence/bin/python", "/opt/dependencies/pip", "install", "--quiet"]
    machine.run(*pip, "--no-deps", "--no-index", "--force-reinstall", f"/opt/{wheel.name}")
    (site,) = (machine.root / "opt/whence/lib").glob("python3*/site-packages")
    (site / "dependencies.pth").write_text("/opt/dependencies\n")
