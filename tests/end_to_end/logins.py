"""A person at a distance: a real sshd in the captured group, reached from another namespace.

The log-in is real in every part that whence looks at: root's sshd, a far address, an interactive
shell with a terminal, typed commands.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.addresses import free_address
from tests.scope import Scope
from tools.instance import Instance

CONFIG = """
Port {port}
ListenAddress 0.0.0.0
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/person.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@dataclass(frozen=True, slots=True)
class Logins:
    """How to type into this host from elsewhere, and from itself."""

    folder: Path
    port: int
    namespace: str
    near: str
    instance: Instance

    def type(self, *lines: str, host: str | None = None) -> str:
        """Log in from the other namespace (or from this one, to `host`), type, log out."""
        inside = ["ip", "netns", "exec", self.namespace] if host is None else []
        typed = [*self.exports(), *lines, "exit"]
        done = subprocess.run(
            [*inside, *self.ssh(host or self.near)],
            input="".join(f"{line}\n" for line in typed),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr

    def talk(self, command: str, *turns: tuple[str, str]) -> str:
        """Log in, type a command, and each answer once its question is on the screen; log out.

        Answers typed ahead would be read by the shell, or with them the line behind.
        """
        inside = ["ip", "netns", "exec", self.namespace]
        said, deadline = "", time.monotonic() + 100
        with subprocess.Popen(
            [*inside, *self.ssh(self.near)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        ) as session:  # fmt: skip
            assert session.stdin is not None
            assert session.stdout is not None
            lines = [*self.exports(), f"{command}; exit"]
            session.stdin.write("".join(f"{line}\n" for line in lines).encode())
            waiting = list(turns)
            while time.monotonic() < deadline:
                if not select.select([session.stdout], [], [], 1.0)[0]:
                    continue
                piece = session.stdout.read(4096)
                if not piece:
                    return said
                said += piece.decode(errors="replace")
                if waiting and waiting[0][0] in said:
                    session.stdin.write(f"{waiting.pop(0)[1]}\n".encode())
            session.kill()
        raise AssertionError(f"no end of {command}: {said}")

    def ssh(self, host: str) -> list[str]:
        """Return the command that logs in with a terminal."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        words = [word for option in options for word in ("-o", option)]
        return [
            "ssh", "-tt", "-F", "/dev/null", *words, "-i", str(self.folder / "person"), "-p",
            str(self.port), f"root@{host}",
        ]  # fmt: skip

    def exports(self) -> list[str]:
        """Return what a person has in their profile."""
        folder = Path(self.instance.python).parent
        return [
            f"export WHENCE_ADDRESS={self.instance.address}",
            f"export WHENCE_DATA_DIR={shlex.quote(str(self.instance.data_dir))}",
            f"export PATH={shlex.quote(str(folder))}:/usr/sbin:/usr/bin:/bin",
            "export NO_COLOR=1 PS1=; stty -echo",
        ]


@contextmanager
def logins(scope: Scope, instance: Instance, folder: Path) -> Iterator[Logins]:
    """Start sshd in the captured group and a network namespace beside it; undo both."""
    name = f"wt{os.getpid() % 100_000}"
    third = 20 + os.getpid() % 200
    near, far = f"10.231.{third}.1", f"10.231.{third}.2"
    port = int(free_address().rpartition(":")[2])
    for key in ("host_key", "person"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        _run("ip", "link", "set", f"{name}b", "netns", name)
        _run("ip", "addr", "add", f"{near}/24", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        _run("ip", "netns", "exec", name, "ip", "addr", "add", f"{far}/24", "dev", f"{name}b")
        _run("ip", "netns", "exec", name, "ip", "link", "set", f"{name}b", "up")
        # Not -D: like a service's, it belongs to nobody who tests.
        scope.run(["/usr/sbin/sshd", "-f", str(folder / "sshd_config")], folder)
        pid = _pid_of(folder / "sshd.pid")
        yield Logins(folder, port, name, near, instance)
        os.kill(pid, 15)
    finally:
        _run("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)


def _pid_of(file: Path) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if file.exists() and file.read_text().strip():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError("sshd did not start")
