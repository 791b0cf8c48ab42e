"""The grid as it is, and the power that is free: what is planned and listed from."""

from __future__ import annotations

from datetime import datetime

from database.interface import Calls, Row
from decisions.scoring.context import Capacity, DecisionContext, Task
from decisions.work.known_grid import KnownGrid


class PresentGrid:
    """The grid, read anew only when the database has another one. Safe to use from many threads.

    Both methods raise `database.errors.DatabaseError` or one of its kinds, and `pydantic.ValidationError` where the
    database holds what the scorer does not understand.
    """

    def __init__(self, database: Calls) -> None:
        self._database = database
        self._known: KnownGrid | None = None

    def document(self, now: datetime) -> Row:
        """The grid and the data centres at `now`, with the `capacity` of the half-hours ahead."""
        known, capacity = self._read(now)
        return {**known.at(now), "capacity": capacity}

    def context(self, task: Task, context_id: str, now: datetime) -> DecisionContext:
        """The decision context of a workload at `now`."""
        known, capacity = self._read(now)
        return known.context({"context_id": context_id, "task": task}, now, Capacity.model_validate(capacity))

    def _read(self, now: datetime) -> tuple[KnownGrid, Row]:
        known = self._known
        arguments = {"p_now": now, "p_known_grid": known.version if known else None}
        answer = self._database.call("present_grid", arguments, repeatable=True)
        if known is None or answer["grid"] is not None:
            known = self._known = KnownGrid(answer["grid"], answer["grid_version"])
        return known, answer["capacity"]
