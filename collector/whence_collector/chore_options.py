"""What every chore of `whence-collector` takes: which collector it is about."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from whence_collector import config


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
