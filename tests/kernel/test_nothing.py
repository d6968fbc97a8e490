"""What moves no content leaves no edge."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.seen import Run

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("behaviour", ["refused", "looked_at", "opened", "empty_opened"])
def test_no_content_no_edge(run: Run, place: Path, behaviour: str) -> None:
    """Refused calls; stat, access, readdir, O_PATH, locks; opens alone, of an empty file too."""
    (place / "data").write_bytes(b"content")
    (place / "empty").touch()

    assert run("nothing", behaviour).edges() == []
