"""Approvals signed with a real SSH key: taken, refused, and verified without whence."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.request_place import SEED, Place, agent, person

from whence.commands_requests import sign
from whence_collector.errors import RefusedAct
from whence_proto.v1 import request_pb2 as wire


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Make a key."""
    path = tmp_path / "maria"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "maria", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def place(tmp_path: Path, key: Path) -> Iterator[Place]:
    """A collector where only signed approvals count."""
    made = Place(tmp_path)
    public = key.with_suffix(".pub").read_text().strip()
    made.administer("SetPrincipal", wire.Principal(
        name="maria", kind="human", roles=["approver"], accounts=["maria@*"], ssh_keys=[public],
    ))  # fmt: skip
    made.administer("SetPolicy", wire.PolicyRequest(signatures_required=True))
    yield made
    made.close()


def approve(place: Place, signature: str) -> wire.RequestDetail:
    """Approve R-1 with a signature."""
    digest = place.ask("Get", wire.GetRequest(request_id="R-1")).summary.digest
    asked = wire.ReviewRequest(
        request_id="R-1", verdict="approve", digest=digest, signature=signature
    )
    found: wire.RequestDetail = place.ask("Review", asked, *person("maria"))
    return found


def test_a_signature_is_taken_and_verified_elsewhere(
    place: Place, key: Path, tmp_path: Path
) -> None:
    text = place.ask("File", wire.FileRequest(card=SEED), *agent("alice")).request.approval_text

    detail = approve(place, sign(text, str(key)))

    assert detail.summary.state == "approved"
    (tmp_path / "signers").write_text(f"maria {key.with_suffix('.pub').read_text()}")
    (tmp_path / "sig").write_text(detail.decisions[-1].signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "maria"]
    command += ["-n", "whence.approval", "-s", str(tmp_path / "sig")]
    verified = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    assert verified.returncode == 0, verified.stderr
    changed = subprocess.run(
        command, input=text.replace("984", "999").encode(), capture_output=True, check=False
    )
    assert changed.returncode != 0


@pytest.mark.parametrize("kind", ["none", "of another key", "of another text", "garbage"])
def test_what_is_no_signature_of_this_decision_is_refused(
    place: Place, key: Path, tmp_path: Path, kind: str
) -> None:
    text = place.ask("File", wire.FileRequest(card=SEED), *agent("alice")).request.approval_text
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    signature = {
        "none": "",
        "of another key": sign(text, str(other)),
        "of another text": sign(text + "\n", str(key)),
        "garbage": "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
    }[kind]

    with pytest.raises(RefusedAct, match=r"signature|signed"):
        approve(place, signature)
    assert place.ask("Get", wire.GetRequest(request_id="R-1")).summary.state == "filed"
