"""Conservation: what the kernel side tried to say against what arrived, and whose it was. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from whenced.record import CLASSES, Kind
from whenced.rows import LossRow, ProcessKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

_LIFE: Final = (Kind.FORK, Kind.EXEC, Kind.EXIT, Kind.PROCESS_SEEN, Kind.UNSEEN)
_NAME: Final = (Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.TRUNCATE_PATH)
CLASS_OF: Final = {
    kind: "life" if kind in _LIFE else "name" if kind in _NAME else "touch" for kind in Kind
}
_REASONS: Final = {
    "life": "the ring of processes was full",
    "touch": "the ring of touches was full",
    "name": "the ring of names was full",
    "text": "a ring of texts was full",
    "aggregate": "the table of counts was full, so counts are a lower bound",
}
# A batch tells conserved classes this often; losses are told at once.
_QUIET_NS: Final = 5_000_000_000


class Ledger:
    """Counts by class since the last row that told of it."""

    def __init__(self, now_ns: int) -> None:
        self._received = dict.fromkeys(_REASONS, 0)
        self._told = dict.fromkeys(_REASONS, (0, 0))
        self._told_ns = dict.fromkeys(_REASONS, now_ns)
        self._lost_by: dict[tuple[str, ProcessKey], int] = {}  # not told yet
        self._named = dict.fromkeys(_REASONS, 0)  # of all that was lost: whose it was is known
        self._nameless = dict.fromkeys(_REASONS, 0)  # at the last look; what was told of them
        self._nameless_told = dict.fromkeys(_REASONS, 0)
        self.lost_in_all = 0
        self._is_behind = False  # something arrived that no row told of
        self._looked_ns = now_ns

    def received(self, by_kind: npt.NDArray[np.int64]) -> None:
        """Add records that arrived, by number of kind."""
        self._is_behind = True
        for kind, count in enumerate(by_kind.tolist()):
            if count:
                self._received[CLASS_OF[Kind(kind)]] += count

    def texts(self, count: int) -> None:
        """Add texts that arrived."""
        self._is_behind |= count > 0
        self._received["text"] += count

    def aggregates(self, count: int) -> None:
        """Add rows of a retired table."""
        self._is_behind |= count > 0
        self._received["aggregate"] += count

    def lost_by(self, process: ProcessKey, lost: Iterable[int]) -> None:
        """Add what one process lost, by number of class."""
        for name, count in zip(CLASSES, lost, strict=True):
            if count:
                key = name, process
                self._lost_by[key] = self._lost_by.get(key, 0) + count
                self._named[name] += count

    @property
    def is_open(self) -> bool:
        """Whether a loss was seen that another look has to confirm."""
        return self._nameless != self._nameless_told

    def is_late(self, now_ns: int) -> bool:
        """Whether what arrived has waited long enough to be told with nothing else."""
        return self._is_behind and now_ns - self._looked_ns >= _QUIET_NS

    def rows(
        self, counts: dict[str, tuple[int, int, int]], now_ns: int, *, last: bool = False
    ) -> list[LossRow]:
        """Rows for classes that lost something, or that were quiet for a while.

        ``counts`` is class -> (attempted, stored, lost) since the load, read after lost_by() was
        told. The first row of a class has its conservation and what is lost of nobody knows whom;
        the others say which process lost how much. ``last``: there will be no other look.
        """
        found: list[LossRow] = []
        self._is_behind, self._looked_ns = False, now_ns
        for name, (attempted, _stored, lost) in counts.items():
            told_attempted, told_received = self._told[name]
            losers = {
                process: count for (each, process), count in self._lost_by.items() if each == name
            }
            nameless = self._nameless_now(name, lost, last=last)
            quiet = not losers and not nameless
            if quiet and (attempted, self._received[name]) == self._told[name]:
                continue
            if quiet and now_ns - self._told_ns[name] < _QUIET_NS:
                self._is_behind = True
                continue
            since_ns, why = self._told_ns[name], _REASONS[name]
            found.append(
                LossRow(
                    name,
                    attempted - told_attempted,
                    self._received[name] - told_received,
                    nameless,
                    why if nameless else None,
                    since_ns,
                    now_ns,
                )
            )
            found += [
                LossRow(name, 0, 0, count, why, since_ns, now_ns, process)
                for process, count in losers.items()
            ]
            self.lost_in_all += nameless + sum(losers.values())
            self._told[name] = (attempted, self._received[name])
            self._told_ns[name] = now_ns
        self._lost_by.clear()
        return found

    def _nameless_now(self, name: str, lost: int, *, last: bool) -> int:
        """Losses that nobody's name is on, once two looks have found them.

        Whose a loss is was read a moment before the counters: the next look may name it.
        """
        nameless = max(0, lost - self._named[name])
        sure = nameless if last else min(nameless, self._nameless[name])
        self._nameless[name] = nameless
        fresh = max(0, sure - self._nameless_told[name])
        self._nameless_told[name] += fresh
        return fresh
