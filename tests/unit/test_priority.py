"""How the deciding loop shares the processors: rests in a burst, none when it is behind."""

from __future__ import annotations

import pytest

from whenced import priority

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("spent_s", "held_share", "waited_s", "rest_s"),
    [
        (0.0, 0.0, 0.0, 0.005),  # nothing happened: not at once again
        (0.001, 0.0, 0.0, 0.007),
        (0.010, 0.1, 0.5, 0.070),  # a burst: an eighth of a core
        (0.500, 0.1, 0.5, 0.2),  # one long turn does not make the next one late
        (0.010, 0.1, 1.0, 0.0),  # what waits has waited for long enough
        (0.010, 0.25, 0.0, 0.0),  # memory fills
    ],
)
def test_rests(spent_s: float, held_share: float, waited_s: float, rest_s: float) -> None:
    rest = priority.rest_s(spent_s, held_share, int(waited_s * SECOND_NS))

    assert rest == pytest.approx(rest_s)


@pytest.mark.parametrize(
    ("held_share", "waited_s", "nice"),
    [
        (0.0, 0.0, priority.PATIENT),
        (0.4, 1.5, priority.PATIENT),
        (0.1, 2.0, priority.FAIR),
        (0.5, 0.0, priority.PRESSED),
    ],
)
def test_niceness(held_share: float, waited_s: float, nice: int) -> None:
    assert priority.of_loop(held_share, int(waited_s * SECOND_NS)) == nice
