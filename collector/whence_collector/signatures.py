"""SSH signatures of approvals, checked by ssh-keygen itself (PROTOCOL.sshsig of OpenSSH)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from whence_collector.errors import RefusedAct
from whence_collector.request_messages import APPROVAL_NAMESPACE

TIMEOUT_S = 10
LONGEST = 16 << 10


def verify_signature(text: str, who: str, ssh_keys: Sequence[str], signature: str) -> None:
    """Refuse a signature that none of a person's keys made over a text.

    Raises RefusedAct. The same check works without a collector: docs/requests.md shows it.
    """
    if not ssh_keys:
        raise RefusedAct(
            "signature", f"no SSH key of {who} is known; an administrator adds it (--ssh-key)"
        )
    if len(signature) > LONGEST:
        raise RefusedAct("signature", "the signature is too long; sign with ssh-keygen -Y sign")
    with tempfile.TemporaryDirectory(prefix="whence-signature-") as folder:
        signers, signed = Path(folder, "signers"), Path(folder, "signature")
        signers.write_text(
            "".join(f"{who} {key.splitlines()[0]}\n" for key in ssh_keys), encoding="utf-8"
        )
        signed.write_text(signature, encoding="utf-8")
        command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", who]
        command += ["-n", APPROVAL_NAMESPACE, "-s", str(signed)]
        try:
            done = subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except FileNotFoundError as error:
            raise RefusedAct(
                "signature", "signatures cannot be checked here: install openssh-client"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise RefusedAct("signature", "the signature could not be checked in time") from error
    if done.returncode != 0:
        raise RefusedAct(
            "signature",
            f"the signature is not one of {who}'s keys over this revision; read it again and sign",
        )
