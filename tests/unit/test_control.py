"""The control socket: answers, hostile clients, long paths, who may ask."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from whenced.control import CLIENTS, LINE_BYTES, ControlSocket, RequestFailed, ask


def status(request: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "echo": request.get("word")}


def canary(_: dict[str, Any]) -> dict[str, Any]:
    raise RequestFailed("the canary did not arrive")


@contextmanager
def serving(path: Path, idle_s: float = 5.0) -> Iterator[Path]:
    control = ControlSocket(path, {"status": status, "canary": canary}, idle_s)
    try:
        yield path
    finally:
        control.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    with serving(tmp_path / "w.sock") as path:
        yield path


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10.0)
    client.connect(str(path))
    return client


def converse(path: Path, sent: bytes) -> list[Any]:
    """Send bytes, end, and give all answers."""
    with connect(path) as client, client.makefile("rb") as replies:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in replies]


def test_a_request_is_answered(served: Path) -> None:
    assert ask(served, {"do": "status", "word": "é\n"}) == {"ok": True, "echo": "é\n"}


def test_several_requests_on_one_connection(served: Path) -> None:
    answers = converse(served, b'{"do": "status", "word": 1}\n{"do": "status", "word": 2}\n')

    assert [answer["echo"] for answer in answers] == [1, 2]


def test_a_handler_that_fails_says_why(served: Path) -> None:
    assert ask(served, {"do": "canary"}) == {"ok": False, "error": "the canary did not arrive"}


@pytest.mark.parametrize(
    "line", [b"", b"garbage", b"[1]", b"null", b"\xff\xfe", b"[" * 50_000, b'"do"']
)
def test_garbage_is_answered_and_the_connection_goes_on(served: Path, line: bytes) -> None:
    answers = converse(served, line + b'\n{"do": "status"}\n')

    assert [answer["ok"] for answer in answers] == [False, True]
    assert answers[0]["error"] == "a request is one JSON object on one line"


@pytest.mark.parametrize("request_", [{}, {"do": "format"}, {"do": ["status"]}, {"do": None}])
def test_an_unknown_request_is_told_the_known_ones(
    served: Path, request_: dict[str, object]
) -> None:
    assert ask(served, request_) == {"ok": False, "error": '"do" must be one of canary, status'}


def test_a_huge_line_ends_the_connection(served: Path) -> None:
    with connect(served) as client:
        try:
            client.sendall(b"x" * (LINE_BYTES * 20))
            rest = client.recv(1)
        except (BrokenPipeError, ConnectionResetError):
            rest = b""

    assert rest == b""
    assert ask(served, {"do": "status"})["ok"]


def test_idle_and_dripping_clients_lose_their_place(tmp_path: Path) -> None:
    with serving(tmp_path / "w.sock", idle_s=0.2) as path:
        with connect(path) as idle:
            assert idle.recv(1) == b""
        with connect(path) as dripping:
            dripping.sendall(b"{")
            assert dripping.recv(1) == b""


def test_only_so_many_clients_at_once_and_places_come_back(served: Path) -> None:
    clients = []
    for _ in range(CLIENTS):
        clients.append(connect(served))
        clients[-1].sendall(b'{"do": "status"}\n')
        clients[-1].recv(100)
    with connect(served) as late:
        assert late.recv(1) == b""
    for client in clients:
        client.close()
    while True:
        try:
            answer = ask(served, {"do": "status"})
        except (OSError, ValueError):  # not all places are back yet
            continue
        break

    assert answer == {"ok": True, "echo": None}


def test_only_the_owner_can_open_the_socket(served: Path) -> None:
    assert stat.S_IMODE(served.stat().st_mode) == 0o600


def test_another_user_is_turned_away_even_if_the_mode_would_let_it_in(tmp_path: Path) -> None:
    with serving(tmp_path / "w.sock") as path:
        path.chmod(0o666)
        tmp_path.chmod(0o755)  # its own folder, but none above, lets others in
        program = (
            "import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            "s.connect('w.sock'); print(s.recv(1))"
        )
        reply = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False
        )

        assert (reply.stdout, reply.stderr) == (b"b''\n", b"")


def test_a_path_longer_than_sun_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with serving(folder / "w.sock") as path:
        assert ask(path, {"do": "status"})["ok"]
    assert list(folder.iterdir()) == []


def test_a_socket_that_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        assert ask(path, {"do": "status"})["ok"]


def test_close_ends_the_threads_of_waiting_clients(tmp_path: Path) -> None:
    with serving(tmp_path / "w.sock") as path:
        client = connect(path)
        client.sendall(b'{"do": "status"}\n')
        client.recv(100)
    with client:
        assert client.recv(1) == b""
    names = {thread.name for thread in threading.enumerate()}

    assert "control" not in names
