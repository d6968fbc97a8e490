"""Starts and stops one whence on this host: a collector and a daemon in the background.

One instance is one data directory. Only processes that this file recorded there
are ever signalled, and only while they are provably the same processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from whenced.kernel_objects import Pins

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA_DIR = "/var/lib/whence"
DEFAULT_ADDRESS = "127.0.0.1:7420"

ENV = "/usr/bin/env"

START_SECONDS = 30.0
# With less an empty database cannot be made.
FULL_BYTES = 1 << 17
# The canary's files are hashed and committed before its edges can be asked for.
PROOF_SECONDS = 30.0
# Longer than the daemon's and the collector's own final flush.
STOP_SECONDS = 15.0


class GroundError(Exception):
    """Something that the person at the terminal can act on; the text is the sentence to show."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Where one instance lives and answers."""

    data_dir: Path
    address: str
    python: str = sys.executable

    @property
    def port(self) -> int:
        """The collector's port; its metrics are one above, the daemon's two above."""
        return int(self.address.rpartition(":")[2])

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which both programs and the client mean this instance."""
        own = {"WHENCE_DATA_DIR": str(self.data_dir), "WHENCE_ADDRESS": self.address}
        return {**os.environ, **own}


@dataclass(frozen=True, slots=True)
class Program:
    """One of the two programs, as this instance starts it."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


COLLECTOR = Program("collector", "whence_collector")
DAEMON = Program("whenced", "whenced")


def instance_from(environment: Mapping[str, str]) -> Instance:
    """Read WHENCE_DATA_DIR and WHENCE_ADDRESS; raises GroundError when they make no sense."""
    data_dir = Path(environment.get("WHENCE_DATA_DIR") or DEFAULT_DATA_DIR).absolute()
    address = environment.get("WHENCE_ADDRESS") or DEFAULT_ADDRESS
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65534:
        message = f"WHENCE_ADDRESS is {address!r}: write HOST:PORT with a port from 1 to 65533."
        raise GroundError(message)
    return Instance(data_dir, address)


# Which process is ours


@dataclass(frozen=True, slots=True)
class Started:
    """A process of this instance, in words that no other process ever fits."""

    pid: int
    start_ticks: int
    boot_id: str


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, or None when the process is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # comm may hold blanks and parentheses: count from its last one.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Name of the running boot: process ids and ticks repeat after a restart."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record_path(instance: Instance, program: Program) -> Path:
    """Return the file that remembers which process was started."""
    return instance.data_dir / "run" / f"{program.name}.started"


def log_path(instance: Instance, program: Program) -> Path:
    """Where the program's standard error goes."""
    return instance.data_dir / "log" / f"{program.name}.log"


def running(instance: Instance, program: Program) -> Started | None:
    """Return the recorded process while it lives, else None."""
    try:
        started = Started(**json.loads(record_path(instance, program).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    alive = started.boot_id == boot_id() and start_ticks(started.pid) == started.start_ticks
    return started if alive else None


@contextmanager
def only_one(instance: Instance) -> Iterator[None]:
    """Hold the instance's lock, so that two calls of up or down never interleave."""
    run_dir = instance.data_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Starting


def spawn(instance: Instance, program: Program) -> Started:
    """Start the program in a session of its own, its words going to its log."""
    log = log_path(instance, program)
    log.parent.mkdir(parents=True, exist_ok=True)
    places = ["--data-dir", str(instance.data_dir), "--address", instance.address]
    command = [instance.python, "-m", program.module, *places, *program.arguments]
    # env changes the folder, so that no file system stays busy, and becomes the program.
    pid = os.posix_spawn(
        ENV,
        [ENV, "--chdir=/", *command],
        instance.environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    started = Started(pid, start_ticks(pid) or 0, boot_id())
    try:
        record_path(instance, program).write_text(json.dumps(asdict(started)) + "\n")
    except OSError:
        # What is not recorded could never be stopped; its id is ours until it is reaped.
        os.kill(pid, signal.SIGKILL)
        reap(pid)
        raise
    return started


def full_disk(instance: Instance) -> str | None:
    """Say that there is no space left, where that is so: a program cannot even log it then."""
    free = shutil.disk_usage(instance.data_dir).free
    if free >= FULL_BYTES:
        return None
    return (
        f"{instance.data_dir} has {free // 1024} KiB free: free space there, "
        "or set WHENCE_DATA_DIR to another directory."
    )


def disk_sentence(instance: Instance, error: OSError) -> str:
    """Say what the file system under the data directory refused, and the remedy."""
    why = error.strerror or str(error)
    return (
        f"{error.filename or instance.data_dir} cannot be written ({why}): free space there, "
        "or set WHENCE_DATA_DIR to another directory."
    )


def last_words(instance: Instance, program: Program, from_byte: int) -> str:
    """Return the last line that the program logged since ``from_byte``."""
    log = log_path(instance, program)
    lines = log.read_bytes()[from_byte:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."


def answers(instance: Instance, program: Program, from_byte: int) -> bool:
    """Whether this very program serves; ``from_byte`` is where its log began."""
    if program.module == COLLECTOR.module:
        # Its own word: the port alone could be another's.
        return b"serving on" in log_path(instance, program).read_bytes()[from_byte:]
    return accepts(instance.data_dir / "daemon" / "whenced.sock")


def accepts(path: Path) -> bool:
    """Whether somebody accepts on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as control:
        try:
            folder = os.open(path.parent, os.O_PATH)
        except FileNotFoundError:
            return False
        try:
            # Through the folder: an address holds 107 bytes, a path may hold more.
            control.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            return False
        finally:
            os.close(folder)
    return True


def start(instance: Instance, program: Program) -> None:
    """Start one program and wait until it answers; raises GroundError with its last words."""
    log = log_path(instance, program)
    from_byte = log.stat().st_size if log.exists() else 0
    started = spawn(instance, program)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if start_ticks(started.pid) is None:
            reap(started.pid)
            words = full_disk(instance) or last_words(instance, program, from_byte)
            raise GroundError(f"{program.name} did not start: {words}")
        if answers(instance, program, from_byte):
            return
        time.sleep(0.02)
    stop(instance, program)
    message = f"{program.name} was not ready after {START_SECONDS:.0f} s: its log is {log}."
    raise GroundError(message)


def reap(pid: int) -> None:
    """Collect the exit status of a process that may be a child of ours."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def client_path(instance: Instance) -> Path:
    """Return the command `whence` of the environment that this instance runs in."""
    return Path(instance.python).parent / "whence"


def prove(instance: Instance) -> str:
    """Run `whence doctor` until the canary is through; return what it printed.

    Raises GroundError with what is still wrong at the end.
    """
    deadline = time.monotonic() + PROOF_SECONDS
    while True:
        doctor = subprocess.run(
            [str(client_path(instance)), "doctor"],
            env=instance.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if doctor.returncode == 0:
            return doctor.stdout
        if time.monotonic() > deadline:
            raise GroundError(f"the proof of life failed:\n{wrong(doctor.stdout + doctor.stderr)}")
        time.sleep(0.2)


def wrong(checklist: str) -> str:
    """Return the lines of a doctor's list that say what is wrong and what to do."""
    lines = checklist.rstrip().splitlines()
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("✓"))


def bring_up(instance: Instance, daemon_arguments: Sequence[str] = ()) -> tuple[bool, str]:
    """Start what does not run yet and wait for the proof of life.

    Returns (whether anything was started, the doctor's list). Raises GroundError,
    and stops what it started, when anything fails.
    """
    programs = (COLLECTOR, Program(DAEMON.name, DAEMON.module, tuple(daemon_arguments)))
    started: list[Program] = []
    with only_one(instance):
        try:
            for program in programs:
                if running(instance, program) is None:
                    started.append(program)
                    start(instance, program)
            return bool(started), prove(instance)
        except (GroundError, OSError, KeyboardInterrupt):
            for program in reversed(started):
                stop(instance, program)
            raise


# Stopping


def stop(instance: Instance, program: Program) -> bool:
    """Stop the recorded process and wait for its end; False when it did not run."""
    started = running(instance, program)
    record = record_path(instance, program)
    if started is None:
        record.unlink(missing_ok=True)
        return False
    try:
        handle = os.pidfd_open(started.pid)
    except ProcessLookupError:
        record.unlink(missing_ok=True)
        return False
    try:
        # The id may have been given away between the look and the handle.
        if start_ticks(started.pid) == started.start_ticks:
            # An interrupt ends the daemon's capture with it; SIGTERM leaves that to the next one.
            end(handle, signal.SIGINT if program.module == DAEMON.module else signal.SIGTERM)
            reap(started.pid)
    finally:
        os.close(handle)
    record.unlink(missing_ok=True)
    return True


def end(handle: int, how: signal.Signals = signal.SIGTERM) -> None:
    """Ask the process behind a pidfd to end, insist after STOP_SECONDS."""
    for order, patience in ((how, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        try:
            signal.pidfd_send_signal(handle, order)
        except ProcessLookupError:
            return
        if select.select([handle], [], [], patience)[0]:
            return


def bring_down(instance: Instance) -> list[str]:
    """Stop both programs of this instance; return the names of those that ran."""
    if not (instance.data_dir / "run").is_dir():
        return []
    with only_one(instance):
        # The daemon first: what it still holds goes to a collector that lives.
        stopped = [program.name for program in (DAEMON, COLLECTOR) if stop(instance, program)]
        detach(instance)
        return stopped


def detach(instance: Instance) -> None:
    """End a capture that goes on although its daemon was killed."""
    place = instance.data_dir / "daemon"
    if not place.is_dir() or not Pins.of(place).instance.is_dir():
        return
    words = ["-m", DAEMON.module, "--detach", "--data-dir", str(instance.data_dir)]
    subprocess.run(
        [instance.python, *words], env=instance.environment, stdout=subprocess.DEVNULL, check=False
    )
