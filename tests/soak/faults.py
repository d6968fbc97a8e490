"""A bad network between uplink and collector: cut, slow, stalled, in pieces; and a collector away.

The spool and its stream are the daemon's own, relay and collector real processes, and what stands
between them passes bytes as badly as it is told. What was handed to the spool is the ledger, as in
kills.py. TCP puts in order what a network reorders, so that is not a case of its own here.
"""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.addresses import free_address
from tests.soak.kills import Ledger, Relay, count, feeding
from tools.instance import COLLECTOR, Instance, start, stop

PIECE_BYTES: Final = 4096
FAULTS: Final = ("cut", "slow", "stalled", "pieces")


@dataclass(slots=True)
class BadNetwork:
    """Listens at one address, passes to another, with the fault that is set."""

    target: str
    dice: random.Random
    fault: str = "pieces"
    address: str = field(default_factory=free_address)
    cuts: int = 0
    _listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        self._listener = socket.create_server((host, int(port)))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                host, _, port = self.target.rpartition(":")
                try:
                    far = socket.create_connection((host, int(port)))
                except OSError:
                    near.close()
                    continue
                threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
            back.start()
            self._pass(near, far)
            back.join()

    def _pass(self, giver: socket.socket, taker: socket.socket) -> None:
        with suppress(OSError):
            while data := giver.recv(self._piece_bytes()):
                self._suffer()
                taker.sendall(data)
        for end in (giver, taker):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _piece_bytes(self) -> int:
        return self.dice.randrange(1, 64) if self.fault == "pieces" else PIECE_BYTES

    def _suffer(self) -> None:
        if self.fault == "cut" and self.dice.random() < 0.1:
            self.cuts += 1
            raise ConnectionResetError
        if self.fault == "slow":
            time.sleep(0.02)
        if self.fault == "stalled" and self.dice.random() < 0.02:
            time.sleep(1.0)


def suffer(place: Path, faults: tuple[str, ...], seed: int, rounds: int = 20) -> Ledger:
    """Deliver under one fault after the other; then wait for the rest and count."""
    dice = random.Random(seed)  # noqa: S311 -- repeatable
    instance = Instance(place / "data", free_address())
    (instance.data_dir / "run").mkdir(parents=True)
    network = BadNetwork(instance.address, dice)
    relay = Relay(place / "uplink.sock", network.address)
    start(instance, COLLECTOR)
    relay.start()
    try:
        with feeding(place, relay.socket) as feed:
            feed.batches(dice)
            feed.wait_until_delivered()  # the stream stands
            for fault in faults:
                network.fault = fault
                for _ in range(rounds):
                    feed.batches(dice)
                    time.sleep(0.02)
                time.sleep(0.5)
            network.fault = "none"
            feed.wait_until_delivered()
    finally:
        relay.end(signal.SIGTERM)
        network.close()
        stop(instance, COLLECTOR)
    return count(instance, feed, network.cuts)


def outage(place: Path, batches: int) -> tuple[Ledger, float]:
    """Make so many batches without a collector; return the ledger, and how long delivery took."""
    dice = random.Random(batches)  # noqa: S311 -- repeatable
    instance = Instance(place / "data", free_address())
    (instance.data_dir / "run").mkdir(parents=True)
    relay = Relay(place / "uplink.sock", instance.address)
    relay.start()
    try:
        with feeding(place, relay.socket) as feed:
            while feed.number < batches:
                feed.batches(dice)
            start(instance, COLLECTOR)
            began_s = time.monotonic()
            feed.wait_until_delivered()
            lasted_s = time.monotonic() - began_s
    finally:
        relay.end(signal.SIGTERM)
        stop(instance, COLLECTOR)
    return count(instance, feed, 0), lasted_s
