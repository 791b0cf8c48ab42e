"""Lets workloads ask again: those that found no place, once the answer may differ, and those without power."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from database.interface import Database


class Reconsidered(BaseModel):
    """job_ids that ask again, and those that failed."""

    model_config = ConfigDict(frozen=True)

    reconsidered: tuple[str, ...]
    failed: tuple[str, ...]


def reconsider_deferred(database: Database, now: datetime) -> Reconsidered:
    """Let the workloads that found no place ask again, and fail those that have waited for as long as they may:
    until their deadline, or for a week where they have none.

    For the pipeline, after a run: the grid may answer differently now.
    """
    answer: Any = database.call("reconsider_deferred", {"p_now": now}, repeatable=True)
    return Reconsidered.model_validate(answer)


def settle_unbooked(database: Database, now: datetime) -> Reconsidered:
    """Let decided workloads ask again that no power is held for, and fail those that were to have begun.

    Decisions were made so before bookings were kept: nobody would ever run them.
    """
    answer: Any = database.call("settle_unbooked_workloads", {"p_now": now}, repeatable=True)
    return Reconsidered.model_validate(answer)
