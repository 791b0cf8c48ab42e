"""The grid as it is, and the power that is free: what is planned and listed from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from database.interface import Calls, Row
from decisions.scoring.context import Capacity, DecisionContext, Task
from decisions.work.known_grid import KnownGrid
from grid.half_hours import half_hour_of


@dataclass(frozen=True)
class _Present:
    """What was read at a moment; `data_version` names the state of the database, where it has a name."""

    read_for: datetime
    data_version: str | None
    grid: KnownGrid
    capacity: Row
    free: Capacity

    def still_known_as(self, now: datetime) -> str | None:
        """The data version with which nothing is different at `now`; None where there is none."""
        # At the very start of a half-hour the mix of two hours before is still one of the present.
        same_half_hour = half_hour_of(now) == half_hour_of(self.read_for)
        return self.data_version if same_half_hour and half_hour_of(now) not in {now, self.read_for} else None


class PresentGrid:
    """The grid and the free power, read anew only when the database has others. Safe to use from many threads.

    Both methods raise `database.errors.DatabaseError` or one of its kinds, and `pydantic.ValidationError` where the
    database holds what the scorer does not understand.
    """

    def __init__(self, database: Calls) -> None:
        self._database = database
        self._last: _Present | None = None

    def document(self, now: datetime) -> Row:
        """The grid and the data centres at `now`, with the `capacity` of the half-hours ahead."""
        present = self._read(now)
        return {**present.grid.at(now), "capacity": present.capacity}

    def context(self, task: Task, context_id: str, now: datetime) -> DecisionContext:
        """The decision context of a workload at `now`."""
        present = self._read(now)
        return present.grid.context({"context_id": context_id, "task": task}, now, present.free)

    def _read(self, now: datetime) -> _Present:
        last = self._last
        arguments = {
            "p_now": now,
            "p_known_grid": last.grid.version if last else None,
            "p_known_data": last.still_known_as(now) if last else None,
        }
        answer = self._database.call("present_grid_unless", arguments, repeatable=True)
        found = answer["present"]
        if found is None and last is not None:
            return last
        grid = last.grid if last and found["grid"] is None else KnownGrid(found["grid"], found["grid_version"])
        capacity = found["capacity"]
        # What was written may be about other things: then the free power stays the very same for those who share it.
        free = last.free if last and last.capacity == capacity else Capacity.model_validate(capacity)
        self._last = _Present(now, answer["data_version"], grid, capacity, free)
        return self._last
