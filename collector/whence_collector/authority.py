"""A small certificate authority of the collector's own: who it is, and which hosts may deliver.

Keys are P-256; a host's certificate names it in common name and alternative names. Knows files
and certificates, not sockets (tls.py) and not settings. Sources: RFC 5280, RFC 6125.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from whence_collector.errors import DataDirectoryUnusable, InvalidSetting

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397  # what browsers accept of a leaf at most; old enough to forget a lost key
# A certificate that has less of its life left than this is made anew.
RENEW_PART = 3
# Clocks of a fleet differ; a certificate that is valid only from now on fails on the slow ones.
SLACK = dt.timedelta(hours=1)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """The authority in a directory; made there when it is missing.

    Raises DataDirectoryUnusable when the directory cannot be written or holds something else.
    """

    def __init__(self, directory: Path, clock: type[dt.datetime] = dt.datetime) -> None:
        self.directory, self._clock = directory, clock
        self.ca = directory / "ca.pem"
        self._key_file = directory / "ca.key"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._key_file.exists():
                self._found()
            self._key = _private_key(self._key_file)
            self._certificate = x509.load_pem_x509_certificate(self.ca.read_bytes())
        except OSError as error:
            raise DataDirectoryUnusable(
                f"{error.filename or directory} cannot be used ({error.strerror}); "
                "correct its permissions or choose another data directory"
            ) from error
        except (ValueError, TypeError) as error:
            raise DataDirectoryUnusable(
                f"{self._key_file} or {self.ca} is damaged ({error}); restore both from a backup"
            ) from error

    def server(self, names: Sequence[str]) -> Pair:
        """Return the collector's own certificate for these names, made anew where it must be."""
        pair = Pair(self.directory / "server.pem", self.directory / "server.key")
        if not self._stands(pair, names):
            self._issue(pair, names, ExtendedKeyUsageOID.SERVER_AUTH)
        return pair

    def enroll(self, host: str, into: Path) -> Pair:
        """Make a host's certificate, key and a copy of the authority's, in a directory.

        Raises InvalidSetting for a name that no host can have, DataDirectoryUnusable.
        """
        if not _HOST.fullmatch(host):
            raise InvalidSetting(f"{host!r} is no name of a host; give it as `uname -n` prints it")
        pair = Pair(into / "host.pem", into / "host.key")
        try:
            into.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._issue(pair, [host], ExtendedKeyUsageOID.CLIENT_AUTH)
            _write(into / "ca.pem", self.ca.read_bytes(), 0o644)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"{error.filename or into} cannot be written ({error.strerror}); choose another "
                "--out"
            ) from error
        return pair

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("whence authority")
        certificate = (
            self._builder(name, name, key, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(self.ca, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(self._key_file, _pem(key), 0o600)  # last: its presence says that all is there

    def _issue(self, pair: Pair, names: Sequence[str], purpose: x509.ObjectIdentifier) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(names[0]), self._certificate.subject, key, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        # The key first: a reader that looks between the two finds a pair that does not fit, and
        # tries again, rather than a new certificate with a key that it cannot have.
        _write(pair.key, _pem(key), 0o600)
        _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        now = self._clock.now(dt.UTC)
        # Verifiers demand both identifiers (RFC 5280, 4.2.1.1 and 4.2.1.2).
        signer = key.public_key() if subject == issuer else self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SLACK)
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False
            )
        )

    def _stands(self, pair: Pair, names: Sequence[str]) -> bool:
        """Whether a certificate is there, is ours, has these names and enough of its life left."""
        try:
            found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            _private_key(pair.key)
        except (OSError, ValueError):
            return False
        now, ends = self._clock.now(dt.UTC), found.not_valid_after_utc
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            (ends - now) * RENEW_PART > ends - found.not_valid_before_utc
            and found.issuer == self._certificate.subject
            and set(held) == {_alternative(name) for name in names}
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file} holds a key of another kind")  # noqa: TRY004 -- of a bad file
    return key


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, never readable by others for a moment."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
