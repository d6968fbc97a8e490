"""Calls of every method of every service with made-up requests, and what may come back.

Built from the descriptors of the wire, so that a method that is added is fuzzed from then on.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

import whence_proto.v1

# A fault of the collector's own; every other status is an answer.
FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
TEXTS = (
    "", "a", "/", "/etc/passwd", "../..", "%", "_", "'", '"; DROP TABLE run; --', "blake3:",
    "blake3:" + "0" * 64, "0" * 64, "deadbeef", "ffffff", "\x00", "\u202e", "é" * 100, "a" * 5000,
    "SELECT 1", "SELECT * FROM runs", "-1", "1e999", "NaN", "2026-11-24", "root", "{}", "null",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 7, 100, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
TIMEOUT_S = 20.0
WATCH_S = 0.3  # of an answer that may go on for ever


@dataclass(frozen=True, slots=True)
class Method:
    """One method: its path, and whether either side streams."""

    path: str
    descriptor: Any  # of google.protobuf.descriptor, or its twin in C

    @property
    def request(self) -> type[Message]:
        """Return the class of its request."""
        return message_factory.GetMessageClass(self.descriptor.input_type)


def methods() -> list[Method]:
    """Return every method that the wire knows, but those of the administrator's own socket."""
    found = []
    for module in pkgutil.iter_modules(whence_proto.v1.__path__, "whence_proto.v1."):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            found += [
                Method(f"/{service.full_name}/{method.name}", method)
                for service in file.services_by_name.values()
                if service.name != "Admin"
                for method in service.methods
            ]
    return found


def filled(kind: type[Message], dice: random.Random, depth: int = 0) -> Message:
    """Return a message whose fields are made up; some are left out."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if dice.random() < 0.4 or depth > 3:
            continue
        if field.is_repeated:
            _extend(made, field, dice, depth)
        elif field.message_type is not None:
            kind_of: Any = field.message_type
            inner = message_factory.GetMessageClass(kind_of)
            getattr(made, field.name).CopyFrom(filled(inner, dice, depth + 1))
        else:
            _set(made, field, dice)
    return made


def _extend(made: Message, field: Any, dice: random.Random, depth: int) -> None:
    for _ in range(dice.randrange(4)):
        values: Any = getattr(made, field.name)
        if field.message_type is None:
            values.append(_value(field, dice))
        elif field.message_type.GetOptions().map_entry:
            return
        else:
            inner = message_factory.GetMessageClass(field.message_type)
            values.add().CopyFrom(filled(inner, dice, depth + 1))


def _set(made: Message, field: Any, dice: random.Random) -> None:
    setattr(made, field.name, _value(field, dice))


def _value(field: Any, dice: random.Random) -> object:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = dice.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return dice.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return dice.choice((0.0, -1.0, 1e300, float("inf"), float("nan")))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return dice.choice([value.number for value in field.enum_type.values])
    low, high = _RANGES[kind]
    return dice.choice([number for number in NUMBERS if low <= number <= high])


_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def call(channel: grpc.Channel, method: Method, requests: Sequence[bytes]) -> grpc.StatusCode:
    """Call a method with requests as bytes; return how it ended."""
    streams = method.descriptor.client_streaming, method.descriptor.server_streaming
    given: Any = iter(requests) if streams[0] else requests[0]
    try:
        if streams[1]:
            kind = channel.stream_stream if streams[0] else channel.unary_stream
            for position, _ in enumerate(kind(method.path)(given, timeout=WATCH_S)):
                if position == 100:
                    break
        else:
            ask = channel.stream_unary if streams[0] else channel.unary_unary
            ask(method.path)(given, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def requests_for(method: Method, dice: random.Random) -> Iterator[bytes]:
    """Yield one request, or a few for a stream; now and then with a flipped byte."""
    for _ in range(dice.randrange(1, 5) if method.descriptor.client_streaming else 1):
        data = bytearray(filled(method.request, dice).SerializeToString())
        if data and dice.random() < 0.2:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        yield bytes(data)
