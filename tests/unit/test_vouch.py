"""Tickets: a real socket, the kernel's word on who connected, and what procfs says of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whence_proto.v1 import request_pb2
from whenced import process_files
from whenced.control import ControlSocket
from whenced.processes import Processes
from whenced.vouch import Voucher


class Names:
    """Knows nobody."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def voucher(tmp_path: Path) -> Voucher:
    names: Any = Names()
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector" / "node.token").write_text("secret\n")
    return Voucher(Processes(names), tmp_path, lambda uid: f"user{uid}", "boot")


@pytest.fixture
def path(tmp_path: Path, voucher: Voucher) -> Iterator[Path]:
    place = tmp_path / "vouch.sock"
    desk = ControlSocket(place, {"vouch": voucher}, open_to_all=True)
    yield place
    desk.close()


def asked(path: Path, **words: Any) -> dict[str, Any]:
    """Send one line."""
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.settimeout(20)
        daemon.connect(str(path))
        daemon.sendall(json.dumps({"do": "vouch", **words}).encode() + b"\n")
        with daemon.makefile("rb") as lines:
            found: dict[str, Any] = json.loads(lines.readline())
            return found


def test_a_ticket_tells_of_the_process_that_connected(path: Path, voucher: Voucher) -> None:
    # whatever a client says of itself is undone
    reply = asked(path, peer={"pid": 1, "uid": 0})

    ticket = request_pb2.Ticket.FromString(base64.b64decode(reply["ticket"]))
    key, token = voucher.greeting()
    code = hmac.new(key, ticket.statement, hashlib.sha256).digest()
    statement = request_pb2.Statement.FromString(ticket.statement)
    chain = [(seen.pid, seen.source) for seen in statement.ancestry]
    assert (ticket.code, token) == (code, "secret")
    assert chain[:2] == [(os.getpid(), "procfs"), (os.getppid(), "procfs")]
    assert statement.ancestry[0].user == f"user{os.getuid()}"
    assert len(statement.nonce) == 16


def test_each_ticket_is_another(path: Path) -> None:
    assert asked(path)["ticket"] != asked(path)["ticket"]


def test_any_user_may_connect(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0100007F", "127.0.0.1"),
        ("0202000A", "10.0.2.2"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000202000A", "10.0.2.2"),
    ],
)
def test_addresses_of_the_kernel_are_read(written: str, meant: str) -> None:
    assert process_files.address_text(written) == meant


def test_marks_of_agents_are_names_of_variables(tmp_path: Path) -> None:
    import subprocess

    marked = {"CLAUDECODE": "1", "SECRET": "x", "PATH": "/usr/bin:/bin"}
    command = ["sh", "-c", "echo; exec sleep 30"]
    with subprocess.Popen(command, env=marked, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # before it runs, the kernel may not have its environment yet
        found = process_files.marks(child.pid)
        child.kill()

    assert found == ["CLAUDECODE"]


def test_a_program_that_its_user_may_write_is_not_the_systems(tmp_path: Path) -> None:
    own = tmp_path / "bash"
    own.write_bytes(b"x")
    own.chmod(0o777)

    assert process_files.is_systems(0, "/bin/sh")
    assert not process_files.is_systems(0, str(own))
    assert not process_files.is_systems(0, "/nowhere")


def test_own_addresses_hold_the_loopback() -> None:
    assert "127.0.0.1" in process_files.own_addresses()
