"""Secure ports of the collector: mutual TLS for daemons, server TLS for people.

Certificates that are replaced on disk serve the next connection, without a restart.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping, Sequence

import grpc

from whence_collector.authority import Authority, Pair
from whence_collector.errors import NotAllowed

LOG = logging.getLogger("whence.tls")
COMMON_NAME = "x509_common_name"


def own_names(extra: Sequence[str] = ()) -> list[str]:
    """Return the names under which a collector on this host is reached."""
    host = socket.gethostname()
    return list(dict.fromkeys((host, *extra, "localhost", "127.0.0.1", "::1")))


class Certificates:
    """Gives gRPC the certificates that stand on disk now."""

    def __init__(self, authority: Authority, names: Sequence[str]) -> None:
        self._authority, self._names = authority, names
        self._stamp: tuple[int, ...] = ()
        self._lock = threading.Lock()  # gRPC asks from threads of its own

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """Return the credentials of one port. Raises what the authority raises."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(self._authority.server(self._names)),
            self._changed,  # type: ignore[arg-type] # None is "no change", grpc documents
            mutual,
        )

    def _configuration(self, pair: Pair) -> grpc.ServerCertificateConfiguration:
        self._stamp = self._stamps(pair)
        return grpc.ssl_server_certificate_configuration(
            [(pair.key.read_bytes(), pair.certificate.read_bytes())],
            root_certificates=self._authority.ca.read_bytes(),
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked at each connection; None keeps what is in use, also where reading fails."""
        with self._lock:
            try:
                pair = self._authority.server(self._names)
                if self._stamps(pair) == self._stamp:
                    return None
                LOG.info("new certificates are in use")
                return self._configuration(pair)
            except OSError as error:
                LOG.warning("certificates cannot be read (%s): the old ones stay in use", error)
                return None

    def _stamps(self, pair: Pair) -> tuple[int, ...]:
        files = (pair.certificate, pair.key, self._authority.ca)
        return tuple(file.stat().st_mtime_ns for file in files)


def enrolled_host(peer: Mapping[str, Sequence[bytes]]) -> str | None:
    """Return the host that a peer's certificate names, None without one.

    ``peer`` is what gRPC says of the connection; it has verified the certificate.
    """
    names = peer.get(COMMON_NAME)
    return names[0].decode("utf-8", "replace") if names else None


def check_host(
    peer: Mapping[str, Sequence[bytes]], address: str, host: str, *, demanded: bool
) -> None:
    """Raise NotAllowed unless the peer at an address may deliver in the name of a host.

    Who reached the socket of the file system has the right to: its permissions say who may.
    """
    enrolled = enrolled_host(peer)
    if enrolled is None:
        if demanded and not address.startswith("unix:"):
            raise NotAllowed(
                "this collector takes deliveries with certificates only; enrol the host with "
                f"`whence-collector enroll {host}` and deliver to its ingest address"
            )
        return
    if enrolled != host:
        raise NotAllowed(
            f"the certificate is of host {enrolled} and the stream says {host}; "
            f"enrol it with `whence-collector enroll {host}`"
        )
