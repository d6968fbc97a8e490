"""Conservation: what the kernel side tried to say against what arrived. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from whenced.record import Kind
from whenced.rows import LossRow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LIFE: Final = (Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.PROCESS_SEEN)
_NAME: Final = (Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.TRUNCATE_PATH)
CLASS_OF: Final = {
    kind: "life" if kind in _LIFE else "name" if kind in _NAME else "touch" for kind in Kind
}
_REASONS: Final = {
    "life": "the record ring was full",
    "touch": "the record ring was full",
    "name": "the record ring was full",
    "text": "the text ring was full",
    "aggregate": "the table of counts was full, so counts are a lower bound",
}
# A batch tells conserved classes this often; losses are told at once.
_QUIET_NS: Final = 5_000_000_000


class Ledger:
    """Counts by class since the last row that told of it."""

    def __init__(self, now_ns: int) -> None:
        self._received = dict.fromkeys(_REASONS, 0)
        self._told = dict.fromkeys(_REASONS, (0, 0, 0))
        self._told_ns = dict.fromkeys(_REASONS, now_ns)
        self.lost_in_all = 0

    def received(self, by_kind: npt.NDArray[np.int64]) -> None:
        """Add records that arrived, by number of kind."""
        for kind, count in enumerate(by_kind.tolist()):
            if count:
                self._received[CLASS_OF[Kind(kind)]] += count

    def texts(self, count: int) -> None:
        """Add texts that arrived."""
        self._received["text"] += count

    def aggregates(self, count: int) -> None:
        """Add rows of a retired table."""
        self._received["aggregate"] += count

    def rows(self, counts: dict[str, tuple[int, int, int]], now_ns: int) -> list[LossRow]:
        """Rows for classes that lost something, or that were quiet for a while.

        ``counts`` is class -> (attempted, stored, lost) since the load.
        """
        found = []
        for name, (attempted, _stored, lost) in counts.items():
            told_attempted, told_received, told_lost = self._told[name]
            if attempted == told_attempted:
                continue
            if lost == told_lost and now_ns - self._told_ns[name] < _QUIET_NS:
                continue
            missing = lost - told_lost
            found.append(
                LossRow(
                    name,
                    attempted - told_attempted,
                    self._received[name] - told_received,
                    missing,
                    _REASONS[name] if missing else None,
                    self._told_ns[name],
                    now_ns,
                )
            )
            self.lost_in_all += missing
            self._told[name] = (attempted, self._received[name], lost)
            self._told_ns[name] = now_ns
        return found
