"""Gap-free numbers: what each CPU's programs began to record against what arrived. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from whenced.record import Rows


class Sequences:
    """Counts records by CPU; the kernel side numbers each attempt (bpf/maps.bpf.h begin_record)."""

    def __init__(self) -> None:
        self._highest = np.zeros(1, np.int64)
        self._received = np.zeros(1, np.int64)
        self._unexplained = 0  # at the last look
        self._told = 0

    def received(self, rows: Rows) -> None:
        """Add records that arrived."""
        cpus = rows["cpu"].astype(np.int64)
        counts = np.bincount(cpus, minlength=len(self._highest))
        self._grow(len(counts))
        np.maximum.at(self._highest, cpus, rows["sequence"].astype(np.int64))
        self._received += counts

    @property
    def missing(self) -> int:
        """Numbers below the highest of each CPU that did not arrive."""
        return int((self._highest - self._received).sum())

    def vanished(self, lost: int, *, last: bool = False) -> int:
        """Records that are gone and that no counter confesses to, since the last call that said so.

        ``lost`` is what the kernel side knows that it lost, read after the records were taken.
        What one look finds may be on its way (a program that was interrupted by another); what
        two looks find is gone. ``last``: there will be no other look.
        """
        unexplained = max(0, self.missing - lost)
        sure = unexplained if last else min(unexplained, self._unexplained)
        self._unexplained = unexplained
        fresh = max(0, sure - self._told)
        self._told += fresh
        return fresh

    def _grow(self, cpu_count: int) -> None:
        more = cpu_count - len(self._highest)
        if more > 0:
            self._highest = np.pad(self._highest, (0, more))
            self._received = np.pad(self._received, (0, more))
