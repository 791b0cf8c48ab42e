"""The power that runs of a replay hold of each data centre, half-hour by half-hour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decisions.scoring.capacity import KW_DECIMALS, counted_kw, free_power_kw
from decisions.scoring.context import DataCentre
from decisions.scoring.runs import Floats


class HeldPower:
    """One world of a replay: what the present load leaves of each data centre, less what its runs hold.

    It reaches so many half-hours ahead of the moment that it was last moved to, and forgets what is over.
    """

    def __init__(self, centres: Sequence[DataCentre], half_hours: int) -> None:
        """Nothing is held."""
        free_kw = np.array([[free_power_kw(centre)] for centre in centres], dtype=np.float64).reshape(-1, 1)
        self._idle_kw: Floats = np.repeat(free_kw, half_hours, axis=1)
        self._free_kw = self._idle_kw.copy()
        self._first: int | None = None

    def move_to(self, first: int) -> None:
        """Let half-hour `first` of the history be the present one; never an earlier one than before."""
        passed = 0 if self._first is None else min(first - self._first, self._free_kw.shape[1])
        if passed:
            self._free_kw = np.concatenate((self._free_kw[:, passed:], self._idle_kw[:, :passed]), axis=1)
        self._first = first

    @property
    def free_kw(self) -> Floats:
        """IT power that is free from the present half-hour on, shape (data centres, half-hours)."""
        free_kw: Floats = self._free_kw.copy()
        return free_kw

    def take(self, site: int, half_hours: slice, it_power_kw: float) -> bool:
        """Hold a run's power, counted from the present half-hour; False, and nothing is held, without room for it."""
        free_kw = self._free_kw[site, half_hours]
        needed_kw = counted_kw(it_power_kw)
        if (free_kw < needed_kw).any():
            return False
        # Rounded as bookings are, so that what was free can be taken to the milliwatt.
        self._free_kw[site, half_hours] = np.round(free_kw - needed_kw, KW_DECIMALS)
        return True
