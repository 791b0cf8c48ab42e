"""The grid as it is, and the power that is free: what everything is decided, planned and offered from."""

from __future__ import annotations

from datetime import datetime

from database.interface import Calls, Row


def present_grid(database: Calls, now: datetime) -> Row:
    """The grid and the data centres at `now`, with the `capacity` of the half-hours ahead, as the database answers.

    Raises:
        DatabaseError: the database failed.
    """
    grid: Row = database.call("grid_context", {"p_now": now}, repeatable=True)
    return {**grid, "capacity": database.call("capacity_at", {"p_now": now}, repeatable=True)}
