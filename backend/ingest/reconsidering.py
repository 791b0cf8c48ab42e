"""Lets workloads that found no place ask again, once the grid may answer differently."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from database.interface import Database


class Reconsidered(BaseModel):
    """job_ids that ask again, and those that failed: past their deadline, or after a week without one."""

    model_config = ConfigDict(frozen=True)

    reconsidered: tuple[str, ...]
    failed: tuple[str, ...]


def reconsider_deferred(database: Database, now: datetime) -> Reconsidered:
    """Let the workloads that found no place ask again, and fail those that have waited for as long as they may.

    For the pipeline, after a run: the grid may answer differently now.
    """
    answer: Any = database.call("reconsider_deferred", {"p_now": now}, repeatable=True)
    return Reconsidered.model_validate(answer)
