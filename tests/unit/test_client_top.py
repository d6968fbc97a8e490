"""`whence top` on a terminal of 80 columns: what it draws, and the keys that end it.

A real process on a real pseudo-terminal; the collector answers over real gRPC.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from tests.unit.client_program import environment

from whence_proto.v1 import spend_pb2 as wire
from whence_proto.v1.spend_pb2_grpc import SpendServicer, add_SpendServicer_to_server

WIDTH, HEIGHT = 80, 24
PATIENCE_S = 20.0
INTERRUPTED = 130
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class OneGpu(SpendServicer):
    """A collector with one held GPU and more runs than the screen has lines."""

    def ShowNow(  # noqa: N802  gRPC names the method
        self, request: wire.ShowNowRequest, context: grpc.ServicerContext
    ) -> wire.ShowNowResponse:
        """Answer with the same at each look."""
        del request, context
        holder = wire.HolderNow(
            run_id="e3e96709" * 4, user="ada", project="vision-of-a-long-name", pid=7,
            command="python3 train.py --data " + "x" * 90,
        )  # fmt: skip
        gpu = wire.GpuNow(
            host="gpu-host", model="NVIDIA H100 80GB HBM3", busy_percent=71, holders=[holder],
            memory_used_bytes=61 << 30, micro_usd_per_hour=3_600_000,
            watched_unix_ns=time.time_ns(),
        )  # fmt: skip
        runs = [
            wire.RunNow(run_id=f"{n:08x}" * 4, user="ada", command="run " + "y" * 90)
            for n in range(HEIGHT * 2)
        ]
        return wire.ShowNowResponse(gpus=[gpu], runs=runs)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_SpendServicer_to_server(OneGpu(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@dataclass(slots=True)
class Terminal:
    """The command on a pseudo-terminal, and what it has drawn."""

    process: subprocess.Popen[bytes]
    keyboard: int
    settings: list[object]  # of the terminal, before the command began
    drawn: str = ""

    def read_until(self, text: str) -> None:
        """Read until the text was drawn; fails where the command ends or patience does."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.drawn:
            assert time.monotonic() < deadline, self.drawn
            if select.select([self.keyboard], [], [], 0.2)[0]:
                self.drawn += os.read(self.keyboard, 65536).decode()

    def press(self, keys: bytes) -> None:
        """Type these keys."""
        os.write(self.keyboard, keys)

    def end(self) -> int:
        """Wait for the end, reading what still comes; return the exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the command does not end"
            if select.select([self.keyboard], [], [], 0.1)[0]:
                self.drawn += os.read(self.keyboard, 65536).decode()
        return int(self.process.returncode)


@pytest.fixture
def top(address: str) -> Iterator[Terminal]:
    """Start `whence top` on a terminal of 80 columns that looks seldom: only keys can end it."""
    keyboard, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    before = termios.tcgetattr(screen)
    settings = {**environment(address), "TERM": "xterm-256color"}
    del settings["COLUMNS"]

    def own_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it

    process = subprocess.Popen(
        [sys.executable, "-m", "whence", "top", "--every", "600"],
        stdin=screen, stdout=screen, stderr=screen, env=settings, start_new_session=True,
        preexec_fn=own_terminal,  # noqa: PLW1509 - nothing else is open
    )  # fmt: skip
    yield Terminal(process, keyboard, before)
    process.kill()
    process.wait()
    os.close(keyboard)
    os.close(screen)


def test_a_screen_holds_gpus_runs_and_the_way_out_in_80_columns(top: Terminal) -> None:
    top.read_until("q quits")
    lines = [CONTROL.sub("", line).strip("\r") for line in top.drawn.split("\n")]

    assert any("1 of 1 GPU held" in line for line in lines)
    assert [line for line in lines if "71 %" in line and "3.60" in line], lines
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(("keys", "code"), [
    (b"q", 0),
    (b"Q", 0),
    (b"xyz\x1b[Aq", 0),
    (b"\x03", INTERRUPTED),
])  # fmt: skip
def test_q_and_interrupt_end_it_at_once_and_put_the_terminal_back(
    top: Terminal, keys: bytes, code: int
) -> None:
    top.read_until("q quits")
    top.press(keys)

    assert top.end() == code
    assert "Traceback" not in top.drawn
    assert "\x1b[?1049l" in top.drawn  # the screen from before it is back
    assert termios.tcgetattr(top.keyboard) == top.settings


def test_other_keys_do_nothing(top: Terminal) -> None:
    top.read_until("q quits")
    top.press(b"x")
    time.sleep(0.5)

    assert top.process.poll() is None
    top.press(b"q")
    assert top.end() == 0
