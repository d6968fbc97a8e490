"""The other observers: how each is had, started, and put around a command.

Installs by package name only, in environments of their own below .build. One that cannot be had
says why in one sentence and has no figures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

_READY_S = 120.0
DEBIAN = ("bpftrace", "linux-headers-amd64", "python3-bpfcc", "redis-server", "strace", "time")
_PYPI = {"reprozip": "reprozip", "roar": "roar-cli"}
_ROAR_TRACERS = ("ebpf", "preload", "ptrace")

# The stock opensnoop of BCC hooks function entries, which some kernels refuse; a tracepoint is
# what it falls back to elsewhere. Prints what it prints.
_BCC = r"""
from bcc import BPF

b = BPF(text='''
struct data_t { u32 pid; int ret; char comm[16]; char name[256]; };
BPF_HASH(names, u64, const char *);
BPF_PERF_OUTPUT(events);
TRACEPOINT_PROBE(syscalls, sys_enter_openat) {
    u64 id = bpf_get_current_pid_tgid();
    const char *name = args->filename;
    names.update(&id, &name);
    return 0;
}
TRACEPOINT_PROBE(syscalls, sys_exit_openat) {
    u64 id = bpf_get_current_pid_tgid();
    const char **name = names.lookup(&id);
    struct data_t data = {};
    if (!name) return 0;
    data.pid = id >> 32;
    data.ret = args->ret;
    bpf_get_current_comm(&data.comm, sizeof(data.comm));
    bpf_probe_read_user_str(&data.name, sizeof(data.name), *name);
    names.delete(&id);
    events.perf_submit(args, &data, sizeof(data));
    return 0;
}
''')

def show(cpu, data, size):
    event = b["events"].event(data)
    print(event.pid, event.comm.decode("utf-8", "replace"), event.ret,
          event.name.decode("utf-8", "replace"))

lost = 0
def count(number):
    global lost
    lost += number

b["events"].open_perf_buffer(show, page_cnt=64, lost_cb=count)
print("Tracing", flush=True)
try:
    while True:
        b.perf_buffer_poll()
except KeyboardInterrupt:
    print("lost", lost)
"""


class PeerError(Exception):
    """An observer did not do what it is for, with the reason."""


Around = Callable[[Path], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Peer:
    """One observer; ``missing`` says why it cannot be had."""

    name: str
    command: Callable[[Sequence[str], Path], list[str]]
    around: Around = lambda _: nullcontext()
    missing: str = ""


def install(below: Path) -> list[Peer]:
    """Return every peer, installed, or with the reason why not."""
    complaint = _apt(DEBIAN)
    homes = {name: _venv(below / name, package) for name, package in _PYPI.items()}
    reprozip, roar = (below / name / "bin" / name for name in ("reprozip", "roar"))
    return [
        Peer("strace -f", _strace, missing=complaint),
        Peer("bpftrace opensnoop", _bare, _bpftrace, complaint),
        Peer("BCC tracepoints", _bare, _bcc, complaint),
        Peer("ReproZip", _reprozip(reprozip), missing=homes["reprozip"]),
        *(
            Peer(
                f"roar {how}",
                _roar(roar, how),
                _roar_around(roar),
                homes["roar"] or _roar_refusal(roar, how),
            )
            for how in _ROAR_TRACERS
        ),
    ]


def _apt(packages: Sequence[str]) -> str:
    wanted = [each for each in packages if subprocess.run(
        ["dpkg-query", "-W", each], check=False, capture_output=True).returncode]  # fmt: skip
    if not wanted:
        return ""
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *wanted]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
    return f"apt-get could not install {' '.join(wanted)}" if done.returncode else ""


def _venv(home: Path, package: str) -> str:
    """Install a package into an environment of its own; return why that failed, or nothing."""
    if (home / "done").exists():
        return ""
    try:
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        # isolated: what this environment imports is of no meaning to that one
        pip = [str(home / "bin" / "python"), "-I", "-m", "pip", "-q", "install", package]
        subprocess.run(pip, check=True)
    except subprocess.CalledProcessError:
        return f"pip could not install {package}"
    (home / "done").touch()
    return ""


def _bare(command: Sequence[str], _: Path) -> list[str]:
    return list(command)


def _strace(command: Sequence[str], _: Path) -> list[str]:
    return ["strace", "-f", "-qq", "-o", "/dev/null", *command]


def _reprozip(program: Path) -> Callable[[Sequence[str], Path], list[str]]:
    # not .reprozip: below HOME that is where it keeps what it says of its own use
    flags = ["--overwrite", "--dont-identify-packages", "-d", "traced"]
    return lambda command, _: [str(program), "trace", *flags, *command]


def _roar(program: Path, how: str) -> Callable[[Sequence[str], Path], list[str]]:
    flags = ["run", "-q", "--tracer", how, "--no-tracer-fallback"]
    return lambda command, _: [str(program), *flags, *command]


def _roar_refusal(program: Path, how: str) -> str:
    """Why a tracer of roar does not work here, or nothing."""
    with tempfile.TemporaryDirectory() as place:
        roar_ready(program, Path(place))
        done = subprocess.run(
            _roar(program, how)(["true"], Path(place)), cwd=place, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode == 0:
        return ""
    words = (done.stderr or done.stdout).strip().splitlines()
    return f"roar says: {words[-1]}" if words else f"roar ended with status {done.returncode}"


def roar_ready(program: Path, place: Path) -> None:
    """Set roar up in a folder, as its manual says, with nothing sent anywhere."""
    shutil.rmtree(place / ".roar", ignore_errors=True)
    subprocess.run([program, "init"], cwd=place, check=False, capture_output=True)


def _roar_around(program: Path) -> Around:
    @contextmanager
    def around(place: Path) -> Iterator[None]:
        roar_ready(program, place)
        yield

    return around


@contextmanager
def _running(command: list[str], place: Path) -> Iterator[None]:
    """Run a host-wide observer; it has begun when it says Tracing (or attaching its probes)."""
    with (place / "observer.txt").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _READY_S
            while "racing" not in (place / "observer.txt").read_text(errors="replace")[: 1 << 20]:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PeerError(f"{command[-1]} did not begin to trace")
                time.sleep(0.1)
            time.sleep(1.0)
            yield
        finally:
            process.terminate()
            process.wait()


def _bpftrace(place: Path) -> AbstractContextManager[None]:
    return _running(["bpftrace", "/usr/sbin/opensnoop.bt"], place)


def _bcc(place: Path) -> AbstractContextManager[None]:
    script = place / "opens.py"  # not the name of what it imports
    script.write_text(_BCC, encoding="ascii")
    headers = place / "bcc-headers"
    if not headers.exists():
        # The running kernel's own headers need not be packaged; for tracepoints any will do. BCC
        # wants both halves of Debian's in one folder.
        for half in ("common", "amd64"):
            source = max(Path("/usr/src").glob(f"linux-headers-*-{half}"))
            subprocess.run(["cp", "-rsf", f"{source}/.", headers], check=True)
    named = f"BCC_KERNEL_SOURCE={headers}"
    return _running(["env", named, "/usr/bin/python3", str(script)], place)
