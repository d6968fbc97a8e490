"""A head of the audit that was signed and kept elsewhere, verified offline with ssh-keygen.

The file is what `whence audit head --sign KEY` printed: the head in one line, then the signature.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from whence.errors import MisuseError, RefusedError
from whence.text import clean

NAMESPACE = "whence.audit"
BEGIN = "-----BEGIN SSH SIGNATURE-----"


def signed_head(file: str, signers: str) -> tuple[str, str]:
    """Return the head ("N:SHA256") of a file and who signed it, as `signers` calls them.

    signers: an allowed-signers file (ssh-keygen(1)). Raises MisuseError for a file that is none,
    RefusedError for a signature that is not good.
    """
    text = _read(file)
    head, mark, signature = text.partition(BEGIN)
    if not mark:
        raise MisuseError(
            f"{clean(file)} holds no signature: keep what `whence audit head --sign KEY` prints"
        )
    with tempfile.NamedTemporaryFile("w", suffix=".sig", encoding="utf-8") as kept:
        kept.write(mark + signature)
        kept.flush()
        found = _keygen("find-principals", "-s", kept.name, "-f", signers)
        names = found.stdout.splitlines()
        if found.returncode != 0 or not names:
            raise RefusedError(
                f"{clean(file)} was signed by nobody whom {clean(signers)} names: it proves nothing"
            )
        words = ("-I", names[0], "-n", NAMESPACE, "-s", kept.name, "-f", signers)
        done = _keygen("verify", *words, input_=f"{head.strip()}\n")
    if done.returncode != 0:
        raise RefusedError(f"the signature of {clean(file)} is not good: the head was changed")
    return head.strip(), names[0]


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(f"{clean(file)} cannot be read ({error}): check it") from None


def _keygen(act: str, *words: str, input_: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["ssh-keygen", "-q", "-Y", act, *words],
            input=input_, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise RefusedError("verifying takes ssh-keygen: install openssh-client") from None
