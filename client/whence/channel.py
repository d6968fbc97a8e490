"""Address of the collector → gRPC channel. Knows nothing of the questions that are asked on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import grpc

from whence.errors import MisuseError

DEFAULT_ADDRESS = "127.0.0.1:7420"
DEFAULT_PORT = 7420

_OPTIONS = (
    # A proxy for the web must not see loopback or cluster traffic: gRPC would obey http_proxy.
    ("grpc.enable_http_proxy", 0),
    # A run with 10,000 inputs is a few MB; the default cap of 4 MiB would cut it.
    ("grpc.max_receive_message_length", 256 << 20),
    # A collector that comes back is found again within seconds, not minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def resolve_address(address: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Return "HOST:PORT" from an option, else WHENCE_ADDRESS, else the default.

    A missing port means 7420. Raises MisuseError for a port that is none.
    """
    environment = os.environ if environment is None else environment
    text = (address or environment.get("WHENCE_ADDRESS") or DEFAULT_ADDRESS).strip()
    if text.startswith("unix:"):
        return text
    host, colon, port = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        return f"{text}:{DEFAULT_PORT}"
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise MisuseError(
            f"{text!r} is not an address: write HOST:PORT in --address or WHENCE_ADDRESS"
        )
    return text


def open_channel(address: str, environment: Mapping[str, str] | None = None) -> grpc.Channel:
    """Return a channel to "HOST:PORT"; it connects when first used, and again when it must.

    WHENCE_CA names the certificate of the collector's authority: then it speaks TLS. Raises
    MisuseError when that file cannot be read.
    """
    environment = os.environ if environment is None else environment
    authority = environment.get("WHENCE_CA")
    if not authority:
        return grpc.insecure_channel(address, options=_OPTIONS)
    try:
        certificate = Path(authority).read_bytes()
    except OSError as error:
        raise MisuseError(
            f"{authority} cannot be read ({error.strerror}): let WHENCE_CA name the ca.pem of the "
            "collector, or unset it"
        ) from error
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate), options=_OPTIONS)
