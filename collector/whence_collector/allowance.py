"""How much one host may deliver: a rate, and a reserve for what piled up meanwhile. Pure."""

from __future__ import annotations

from dataclasses import dataclass

RESERVE_S = 60.0  # of the rate, that a host that was quiet may deliver at once


@dataclass(slots=True)
class Allowance:
    """Rows that one stream may still deliver at once; grows by rows_per_second up to a minute's.

    rows_per_second 0: no limit. Times are those of any steady clock, in seconds.
    """

    rows_per_second: int
    left: float = 0.0
    at_s: float | None = None

    def pause_s(self, rows: int, now_s: float) -> float:
        """Take rows out; return how long to wait before the next are read, 0.0 for not at all."""
        if not self.rows_per_second:
            return 0.0
        most = self.rows_per_second * RESERVE_S
        grown = most if self.at_s is None else (now_s - self.at_s) * self.rows_per_second
        self.left = min(most, self.left + grown) - rows
        self.at_s = now_s
        return max(0.0, -self.left / self.rows_per_second)
