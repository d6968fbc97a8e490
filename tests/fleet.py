"""Several hosts on one machine: each a name, a network, a boot and a disk of its own.

What belongs to a host is in namespaces (network, name, mounts) that no other sees; the kernel is
this one. Each host runs its own whenced and, over mutual TLS, its own whence-uplink into one
collector, which stands in a network namespace too. Nothing of it is reachable from this machine's
network, and all of it ends with the processes that hold the namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.asking import Said, Whence
from tests.scope import Scope
from tools.instance import Instance, accepts

from whenced.control import ask

HUB = "hub"
PORT, INGEST_PORT = 7420, 7423
HOME = Path("/mnt")  # the disk of a host: memory that only it sees
PATIENCE_S = 60.0

# Holds the namespaces of a host. Words: name, files to stand for machine-id, boot_id, hosts.
_KEEP = """\
hostname "$1"
mount --bind "$2" /etc/machine-id
mount --bind "$3" /proc/sys/kernel/random/boot_id
mount --bind "$4" /etc/hosts
mount -t tmpfs tmpfs /mnt
ip link set lo up
echo up
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Host:
    """One host; start and run put a command into its namespaces and its captured group."""

    name: str
    address: str
    folder: Path  # what this machine keeps of it: settings, spool, logs
    keeper: int  # process id of what holds the namespaces
    scope: Scope

    def start(
        self, command: Sequence[str], cwd: Path = HOME, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a captured command."""
        return self.scope.start(command, cwd, None, variables)

    def run(
        self, command: Sequence[str], cwd: Path = HOME, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run a captured command to its end; it has to succeed."""
        return self.scope.run(command, cwd, None, variables)

    def write(self, name: str, content: str | bytes) -> Path:
        """Put a file on its disk, unseen by capture."""
        path = HOME / name
        seen = self._from_here(path)
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def read(self, path: Path) -> bytes:
        """Return what a file on its disk holds."""
        return self._from_here(path).read_bytes()

    def _from_here(self, path: Path) -> Path:
        return Path(f"/proc/{self.keeper}/root{path}")

    def inside(self, *command: str) -> list[str]:
        """Return the words that run a command there, outside of the captured group."""
        return ["nsenter", f"--target={self.keeper}", "--net", "--uts", "--mount", "--", *command]


@dataclass(frozen=True, slots=True)
class HubWhence(Whence):
    """The client, asked where the collector stands."""

    keeper: int = 0

    def run(self, *arguments: str | Path, address: str | None = None) -> Said:
        """Run `whence ARGUMENTS` beside the collector."""
        program = Path(self.instance.python).parent / "whence"
        done = subprocess.run(
            ["nsenter", f"--target={self.keeper}", "--net", str(program), *map(str, arguments)],
            env={**os.environ, "WHENCE_ADDRESS": address or self.instance.address},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts and the client."""

    hosts: tuple[Host, ...]
    whence: HubWhence


@contextmanager
def fleet(folder: Path, names: Sequence[str]) -> Iterator[Fleet]:
    """Start a collector and the named hosts, and wait until every host has proven capture."""
    with ExitStack() as stack:
        hub = stack.enter_context(_network_namespace())
        _bridge(hub)
        data_dir = folder / HUB
        data_dir.mkdir()
        stack.enter_context(_collector(hub, data_dir))
        hosts = tuple(stack.enter_context(_host(folder, names, name, hub)) for name in names)
        whence = HubWhence(Instance(data_dir, f"127.0.0.1:{PORT}"), hub)
        for host in hosts:
            proof = ask(host.folder / "daemon" / "whenced.sock", {"do": "canary"})
            assert proof["ok"], (host.name, proof["missing"])
        yield Fleet(hosts, whence)


def _await(what: str, is_there: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_there():
        assert time.monotonic() < deadline_s, f"{what} did not come within {PATIENCE_S:.0f} s"
        time.sleep(0.1)


# Networks -------------------------------------------------------------------------------------


def address_of(names: Sequence[str], name: str) -> str:
    """Return the address of a host on the switch."""
    return f"10.99.0.{11 + names.index(name)}"


def _here(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def _there(keeper: int, *words: str) -> None:
    _here("nsenter", f"--target={keeper}", "--net", *words)


@contextmanager
def _held(command: Sequence[str]) -> Iterator[int]:
    """Run what holds namespaces until it is left; it says a line when they are ready."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == "up\n", command
            yield keeper.pid
        finally:
            keeper.kill()


@contextmanager
def _network_namespace() -> Iterator[int]:
    text = "ip link set lo up; echo up; exec sleep infinity"
    with _held(["unshare", "--net", "sh", "-ec", text]) as keeper:
        yield keeper


def _bridge(hub: int) -> None:
    _there(hub, "ip", "link", "add", "switch", "type", "bridge")
    _there(hub, "ip", "addr", "add", "10.99.0.1/24", "dev", "switch")
    _there(hub, "ip", "link", "set", "switch", "up")


def _plug(keeper: int, hub: int, name: str, address: str) -> None:
    """Lay a cable from a host to the switch; both ends go with their namespaces."""
    near, far = f"p-{name}", "eth0"
    _there(
        hub, "ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(keeper)
    )
    _there(hub, "ip", "link", "set", near, "master", "switch", "up")
    _there(keeper, "ip", "addr", "add", f"{address}/24", "dev", far)
    _there(keeper, "ip", "link", "set", far, "up")


# Programs -------------------------------------------------------------------------------------


def _own_environment() -> dict[str, str]:
    """Return the environment without what `make` says of the machine's own instance."""
    return {key: value for key, value in os.environ.items() if not key.startswith("WHENCE_")}


@contextmanager
def _program(words: Sequence[str], log: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    given = _own_environment()
    with (
        log.open("wb") as out,
        subprocess.Popen(words, stdout=out, stderr=out, env=given) as running,
    ):
        try:
            try:
                _await(log.name, lambda: is_ready() or running.poll() is not None)
                assert running.poll() is None
            except AssertionError as error:
                raise AssertionError(f"{error}\n{log.read_text(errors='replace')}") from None
            yield
        finally:
            running.terminate()
            running.wait(30.0)


@contextmanager
def _collector(hub: int, data_dir: Path) -> Iterator[None]:
    settings, log = data_dir / "collector.toml", data_dir / "collector.log"
    settings.write_text(
        f'ingest_address = "10.99.0.1:{INGEST_PORT}"\ntls_names = ["10.99.0.1"]\n'
        f'data_dir = "{data_dir}"\naddress = "127.0.0.1:{PORT}"\n'
    )
    words = ["nsenter", f"--target={hub}", "--net", sys.executable, "-m", "whence_collector"]
    with _program(
        [*words, "--config", str(settings)], log, lambda: b"serving on" in log.read_bytes()
    ):
        yield


@contextmanager
def _host(folder: Path, names: Sequence[str], name: str, hub: int) -> Iterator[Host]:
    own, address, data_dir = folder / name, address_of(names, name), folder / HUB
    peers = [f"{address_of(names, each)} {each}\n" for each in names]
    own.mkdir()
    chore = [sys.executable, "-m", "whence_collector", "enroll", name, "--out", str(own / "tls")]
    _here(*chore, "--data-dir", str(data_dir))
    told = {
        "machine-id": f"{uuid.uuid4().hex}\n",
        "boot-id": f"{uuid.uuid4()}\n",
        "hosts": "127.0.0.1 localhost\n" + "".join(peers),
    }
    for file, text in told.items():
        (own / file).write_text(text)
    keep = ["unshare", "--net", "--uts", "--mount", "sh", "-ec", _KEEP, "keep", name]
    with ExitStack() as stack:
        keeper = stack.enter_context(_held([*keep, *(str(own / file) for file in told)]))
        _plug(keeper, hub, name, address)
        scope = Scope.create(f"whence-test-{os.getpid()}-{name}", _namespaces_of(keeper))
        stack.callback(scope.remove)
        host = Host(name, address, own, keeper, scope)
        for words, log, is_ready in _services(host):
            stack.enter_context(_program(host.inside(*words), log, is_ready))
        yield host


def _namespaces_of(keeper: int) -> tuple[Path, ...]:
    # The mounts last: afterwards the paths of this machine may mean something else.
    return tuple(Path(f"/proc/{keeper}/ns/{kind}") for kind in ("net", "uts", "mnt"))


def _services(host: Host) -> Iterator[tuple[list[str], Path, Callable[[], bool]]]:
    """Yield the relay and the daemon, as a fleet's host runs them."""
    own = host.folder
    socket, tls = own / "uplink.sock", own / "tls"
    (own / "uplink.toml").write_text(
        f'address = "10.99.0.1:{INGEST_PORT}"\nlisten = "{socket}"\n'
        f'daemon_metrics = "{own}/metrics.sock"\nmetrics_port = 0\n[tls]\nca = "{tls}/ca.pem"\n'
        f'certificate = "{tls}/host.pem"\nkey = "{tls}/host.key"\n'
    )
    (own / "whenced.toml").write_text(
        f'address = "unix:{socket}"\nmetrics_socket = "{own}/metrics.sock"\n'
        f'data_dir = "{own}"\n[scope]\ncgroups = ["{host.scope.directory}"]\n'
    )
    python = [sys.executable, "-m"]
    relay = [*python, "whenced.relay_main", "--config", str(own / "uplink.toml")]
    yield relay, own / "uplink.log", socket.exists
    daemon = [*python, "whenced", "--config", str(own / "whenced.toml")]
    yield daemon, own / "whenced.log", lambda: accepts(own / "daemon" / "whenced.sock")


@contextmanager
def sshd_on(host: Host) -> Iterator[None]:
    """Run the host's own sshd, captured, letting in whoever has the key at folder/key."""
    own = host.folder
    for key in ("host_key", "key"):
        _here("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own / key))
    (own / "sshd_config").write_text(
        f"Port 22\nHostKey {own}/host_key\nAuthorizedKeysFile {own}/key.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
    with host.start(["/usr/sbin/sshd", "-D", "-f", str(own / "sshd_config")]) as running:
        try:
            _await("sshd", lambda: _listens(host))
            yield
        finally:
            running.terminate()


def _listens(host: Host) -> bool:
    probe = ["bash", "-c", f"exec 3<>/dev/tcp/{host.address}/22"]
    return subprocess.run(host.inside(*probe), check=False, capture_output=True).returncode == 0


def scp_to(host: Host) -> list[str]:
    """Return the words of scp that let into the host; files and target follow."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    words = [word for option in options for word in ("-o", option)]
    program = shutil.which("scp")
    assert program is not None, "scp is missing: run tools/setup.sh tests"
    return [program, "-F", "/dev/null", *words, "-i", str(host.folder / "key")]
