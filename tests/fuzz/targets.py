"""What is fuzzed: every reader of bytes that somebody else wrote, and what it may answer with.

A target takes bytes and returns, or raises one of its named refusals. Anything else is a fault.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from whence_collector import config as collector_config
from whence_collector.check import check
from whence_collector.classes import class_of
from whence_collector.database import SqlCursor, open_copy
from whence_collector.errors import CollectorError, InvalidBatch, InvalidPrices, InvalidSetting
from whence_collector.price_file import parse_prices
from whence_collector.sql_gate import admit
from whence_collector.store import Store
from whence_proto.v1 import ingest_pb2
from whenced import environment, redact, relay_config, spool_file
from whenced.errors import ConfigError
from whenced.event import events
from whenced.git_index import parse_index
from whenced.git_objects import DamagedError, apply_delta
from whenced.hash_messages import unpacked
from whenced.record import RECORD
from whenced.ring import texts_in
from whenced.spool_file import DamagedBatch
from whenced.text import arguments_of, joined, path_of

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and the exceptions by which it refuses."""

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = ()

    def try_one(self, data: bytes) -> None:
        """Read; a refusal is an answer. Raises whatever else the reader raises."""
        try:
            self.read(data)
        except self.refusals:
            return

    def corpus(self) -> list[bytes]:
        """Return the kept inputs, the empty one first."""
        folder = CORPUS / self.name
        return [b"", *(file.read_bytes() for file in sorted(folder.glob("*")))]


def _records(data: bytes) -> object:
    whole = len(data) - len(data) % RECORD.itemsize
    return list(events(np.frombuffer(data[:whole], dtype=RECORD)))


def _ring_texts(data: bytes) -> object:
    """As TextRing cuts them: whole slots only, so the lengths are the kernel's."""
    slots, at = bytearray(), 0
    while at + 2 <= len(data):
        body = data[at + 2 : at + 2 + data[at + 1]].ljust(24, b"\0")
        body = body[:12] + (max(0, len(body) - 24)).to_bytes(4, "little") + body[16:]
        slots += len(body).to_bytes(4, "little") + bytes(4) + body + bytes(-len(body) % 8)
        at += 2 + data[at + 1]
    return list(texts_in(bytes(slots)))


def _paths(data: bytes) -> object:
    path = path_of(data)
    return path, joined(path, data), arguments_of(data), class_of(path.decode("utf-8", "replace"))


def _batch(data: bytes) -> object:
    return check(ingest_pb2.Batch.FromString(data))


def _arguments(data: bytes) -> object:
    words = data.decode("utf-8", "surrogateescape").split("\0")
    return redact.redact_arguments(words), [redact.redact_url(word) for word in words]


def _delta(data: bytes) -> object:
    size = data[0] if data else 0
    return apply_delta(data[1 : 1 + size], data[1 + size :])


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="whence-fuzz-"))


def _file(data: bytes) -> Path:
    path = _folder() / str(os.getpid())
    path.write_bytes(data)
    return path


def _spooled(data: bytes) -> object:
    return spool_file.read(_file(data))


def _collector_settings(data: bytes) -> object:
    return collector_config.read(_file(data))


def _relay_settings(data: bytes) -> object:
    return relay_config.load({}, {"config": str(_file(data))})


def _prices(data: bytes) -> object:
    return parse_prices(data.decode("utf-8", "replace"))


@cache
def _cursor() -> SqlCursor:
    Store(_folder() / "whence.duckdb").close()
    return open_copy(_folder() / "whence.duckdb")


def _sql(data: bytes) -> object:
    return admit(_cursor(), data.decode("utf-8", "replace"))


TARGETS = {
    target.name: target
    for target in (
        Target("records", _records),
        Target("ring_texts", _ring_texts),
        Target("paths", _paths),
        Target("environment", environment.variables_of),
        Target("arguments", _arguments),
        Target("batch", _batch, (InvalidBatch, DecodeError)),
        Target("hash_messages", unpacked, (ValueError,)),
        Target("spool_file", _spooled, (DamagedBatch,)),
        Target("git_index", parse_index, (DamagedError,)),
        Target("git_delta", _delta, (DamagedError,)),
        Target(
            "prices", lambda data: parse_prices(data.decode("utf-8", "replace")), (InvalidPrices,)
        ),
        Target("collector_settings", _collector_settings, (InvalidSetting,)),
        Target("relay_settings", _relay_settings, (ConfigError,)),
        Target("sql", _sql, (CollectorError,)),
    )
}
