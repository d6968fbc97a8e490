"""Answers say what is no longer so: an input that changed since, an output that was replaced."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Whence, settled
from tests.end_to_end.jobs import RAW, digest_of_file, write_job
from tests.scope import Scope

pytestmark = pytest.mark.kernel

STAGE = ["python3", "stage.py", "out.txt", "raw.csv"]


def told(whence: Whence, digest: str) -> tuple[Any, ...] | None:
    """Return (superseded, whether raw.csv changed since) of the content's production."""
    said = whence.run("show", digest, "--json")
    if said.code:
        return None
    import json

    (production, *_) = json.loads(said.stdout)["productions"]
    raw = [edge for edge in production["inputs"] if edge["path"].endswith("/raw.csv")]
    return (production["superseded"], [edge["changed_since"] for edge in raw])


def test_an_input_that_changed_makes_the_output_stale(
    scope: Scope, whence: Whence, place: Path
) -> None:
    write_job(place, raw_csv=RAW)
    scope.run(STAGE, place)
    first = digest_of_file(place / "out.txt")
    fresh = settled(partial(told, whence, first), (False, [None]))
    scope.run(["sh", "-c", "echo 9999,9999 >> raw.csv && cat raw.csv > /dev/null"], place)
    stale = settled(partial(told, whence, first), (False, [True]))
    scope.run(STAGE, place)
    replaced = settled(partial(told, whence, first), (True, [True]))
    second = settled(partial(told, whence, digest_of_file(place / "out.txt")), (False, [None]))

    assert (fresh, stale, replaced, second) == (
        (False, [None]),
        (False, [True]),
        (True, [True]),
        (False, [None]),
    )
