"""What `whence-collector WORD ...` does beside serving: each word with its parser and its work.

A new chore is a row of CHORES; a chore raises CollectorError for what a person can mend.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from whence_collector import config


def enroll(words: Sequence[str]) -> None:
    """Make the certificate of a host, and at first the authority."""
    from whence_collector.authority import Authority  # noqa: PLC0415 -- cryptography takes a while

    parser = chore_parser("enroll", "Make the certificate with which a host delivers.")
    parser.add_argument("host", help="as `uname -n` prints it there")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: ./HOST-whence-tls")
    options = parser.parse_args(words)
    settings = settings_of(options)
    into = options.out or Path(f"{options.host}-whence-tls")
    Authority(settings.tls_dir).enroll(options.host, into)
    print(
        f"{into}: ca.pem, host.pem, host.key. Copy them to /etc/whence/tls on {options.host}, and "
        "name them under [tls] in its /etc/whence/uplink.toml."
    )


def chore_parser(word: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every chore has."""
    parser = argparse.ArgumentParser(
        prog=f"whence-collector {word}", description=description, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="settings of the collector")
    parser.add_argument("--data-dir", metavar="DIR", help="its data directory")
    return parser


def settings_of(
    options: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> config.Config:
    """Return the settings of the collector that a chore is about. Raises InvalidSetting."""
    words = [
        word
        for name in ("config", "data_dir")
        if getattr(options, name)
        for word in (f"--{name.replace('_', '-')}", getattr(options, name))
    ]
    return config.parse(words, environment)


CHORES: dict[str, Callable[[Sequence[str]], None]] = {
    "enroll": enroll,
}
