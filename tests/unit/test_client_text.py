"""Words for people: sizes, times, safe names, short commands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.client_samples import NOW_NS, SECOND_NS, run

from whence.model import Run, from_wire
from whence.text import (
    ago_text,
    cells,
    clean,
    clip,
    clip_start,
    count_text,
    date_text,
    duration_text,
    near_path,
    safe,
    short_command,
    since_unix_ns,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name.pt", "plain name.pt"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x9b31m", r"\x9b31m"),
        ("txt.\u202egpj", r"txt.\u202egpj"),
        ("\udcff", r"\udcff"),
        ("模型.pt", "模型.pt"),
    ],
)
def test_clean_shows_what_could_steer_a_terminal(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text())
def test_clean_leaves_nothing_that_is_not_printable(text: str) -> None:
    cleaned = clean(text)

    assert [letter for letter in cleaned if ord(letter) < 32 or 127 <= ord(letter) < 160] == []
    assert clean(cleaned) == cleaned


def test_safe_reaches_every_text_of_an_answer() -> None:
    hostile = run("4f0c", "python \x1b]0;owned\x07", 1, 1, git_modified=["a\nb"])

    cleaned = safe(from_wire(Run, hostile))

    assert (cleaned.command, cleaned.git_modified) == (r"python \x1b]0;owned\x07", (r"a\nb",))


@given(st.text(), st.integers(1, 40))
def test_clip_never_takes_more_than_its_width(text: str, width: int) -> None:
    cleaned = clean(text)

    assert cells(clip(cleaned, width)) <= width
    assert cells(clip_start(cleaned, width)) <= width


def test_clip_start_keeps_the_end_of_a_path() -> None:
    assert clip_start("/a/long/way/to/model.pt", 12) == "…to/model.pt"


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (44_100_000, "44.1 MB"),
        (999_960, "1.0 MB"),
        (3 * 10**12, "3.0 TB"),
        (2**63, "9.2 EB"),
    ],
)
def test_size_text(size_bytes: int, expected: str) -> None:
    assert size_text(size_bytes) == expected


@pytest.mark.parametrize(
    ("span_ns", "expected"),
    [
        (-1, "0 ms"),
        (120_000_000, "120 ms"),
        (2_500_000_000, "2.5 s"),
        (12 * SECOND_NS, "12 s"),
        (184 * SECOND_NS, "3 min 4 s"),
        (7200 * SECOND_NS, "2 h"),
        (100_000 * SECOND_NS, "1 d 3 h"),
    ],
)
def test_duration_text(span_ns: int, expected: str) -> None:
    assert duration_text(span_ns) == expected


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (-5, "just now"),
        (1, "just now"),
        (12, "12 seconds ago"),
        (60, "1 minute ago"),
        (3 * 3600, "3 hours ago"),
        (86_400 * 2, "2 days ago"),
        (86_400 * 40, "on 2026-10-09 11:06 UTC"),
        (-86_400, "on 2026-11-19 11:06 UTC"),
    ],
)
def test_ago_text(age_s: int, expected: str) -> None:
    assert ago_text(NOW_NS - age_s * SECOND_NS, NOW_NS) == expected


def test_date_text_survives_a_number_beyond_the_calendar() -> None:
    assert date_text(2**62 * 10**3) == f"{2**62 * 10**3} ns"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python train.py --epochs 3", "train.py"),
        ("/usr/bin/python3.11 -u src/train.py", "train.py"),
        ("python -m pkg.train --x 1", "pkg.train"),
        ("python -c 'print(1)'", "python"),
        ("perl -ne 'open F; print'", "perl"),
        ("bash run.sh", "run.sh"),
        ("cp a b", "cp"),
        ("./fit --fast", "fit"),
        ("", "?"),
        ("python", "python"),
    ],
)
def test_short_command(command: str, expected: str) -> None:
    assert short_command(command) == expected


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("/home/alice/proj/a/b", "/home/alice/proj", "a/b"),
        ("/home/alice/project/a", "/home/alice/proj", "/home/alice/project/a"),
        ("/a", "/", "/a"),
        ("/a", None, "/a"),
    ],
)
def test_near_path(path: str, folder: str | None, expected: str) -> None:
    assert near_path(path, folder) == expected


def test_count_text() -> None:
    assert (count_text(1, "run"), count_text(2000, "run")) == ("1 run", "2,000 runs")


def test_since_understands_ages_and_iso_times() -> None:
    assert since_unix_ns("2h", NOW_NS) == NOW_NS - 7200 * SECOND_NS
    assert since_unix_ns("2026-11-18T11:06:40+00:00", NOW_NS) == NOW_NS


def test_since_refuses_other_texts() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        since_unix_ns("soon", NOW_NS)
