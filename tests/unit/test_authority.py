"""Certificates that the collector makes: what they say, when they are made anew, who may read."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from whence_collector.authority import Authority
from whence_collector.chores import CHORES
from whence_collector.errors import DataDirectoryUnusable, InvalidSetting

NAMES = ("collector.example", "localhost", "127.0.0.1")


class InAYear(dt.datetime):
    """A clock that is nearly at the end of a certificate."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> InAYear:
        """Return the time then."""
        later = dt.datetime.now(tz) + dt.timedelta(days=390)
        return cls.fromtimestamp(later.timestamp(), tz)


def loaded(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_clients_believe_the_servers_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server(NAMES)
    trust = Store([loaded(authority.ca)])
    verifier = PolicyBuilder().store(trust).build_server_verifier(x509.DNSName(NAMES[0]))
    stranger = PolicyBuilder().store(trust).build_server_verifier(x509.DNSName("evil.example"))

    assert len(verifier.verify(loaded(pair.certificate), [])) == 2
    with pytest.raises(VerificationError):
        stranger.verify(loaded(pair.certificate), [])


def test_a_hosts_certificate_names_it_and_is_for_clients_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.enroll("gpu-07", tmp_path / "out")
    trust = Store([loaded(tmp_path / "out" / "ca.pem")])

    verified = (
        PolicyBuilder().store(trust).build_client_verifier().verify(loaded(pair.certificate), [])
    )
    assert [name.value for name in verified.subjects or [] if isinstance(name, x509.DNSName)] == [
        "gpu-07"
    ]
    with pytest.raises(VerificationError):
        PolicyBuilder().store(trust).build_server_verifier(x509.DNSName("gpu-07")).verify(
            loaded(pair.certificate), []
        )


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.server(NAMES)
    authority.enroll("gpu-07", tmp_path / "out")
    modes = {
        stat.S_IMODE(file.stat().st_mode)
        for folder in ("tls", "out")
        for file in (tmp_path / folder).glob("*.key")
    }

    assert modes == {0o600}


def test_a_certificate_stands_until_its_life_or_its_names_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.server(NAMES).certificate.read_bytes()
    again = Authority(tmp_path).server(NAMES).certificate.read_bytes()
    renamed = authority.server((*NAMES, "other")).certificate.read_bytes()
    late = Authority(tmp_path, InAYear).server((*NAMES, "other")).certificate.read_bytes()

    assert first == again
    assert len({first, renamed, late}) == 3


@pytest.mark.parametrize("host", ["", "-x", "a b", "../etc", "a" * 65, "gpu;rm"])
def test_no_host_has_such_a_name(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="is no name of a host"):
        Authority(tmp_path / "tls").enroll(host, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_damaged_authority_is_named(tmp_path: Path) -> None:
    Authority(tmp_path)
    (tmp_path / "ca.key").write_text("garbage")

    with pytest.raises(DataDirectoryUnusable, match=r"is damaged .* restore both from a backup"):
        Authority(tmp_path)


def test_one_command_enrols_a_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    CHORES["enroll"](["gpu-07", "--data-dir", str(tmp_path / "data"), "--out", str(out)])
    said = capsys.readouterr().out

    assert sorted(file.name for file in out.iterdir()) == ["ca.pem", "host.key", "host.pem"]
    assert said.startswith(f"{out}: ca.pem, host.pem, host.key. Copy them to /etc/whence/tls")
