"""A grid that this process has read: it is neither read nor parsed again while the database has no newer one."""

from __future__ import annotations

from datetime import datetime

from database.interface import Row
from decisions.scoring.context import Capacity, DecisionContext, Task


class KnownGrid:
    """The grid and the data centres as the database answered them, parsed once. Safe to use from many threads.

    The same but for its moment, `as_of`, for as long as the database says that its version is the same.
    """

    def __init__(self, document: Row, version: str | None = None) -> None:
        self._document = document
        self.version = version
        self._parsed: DecisionContext | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there is anything to decide from: a data centre, and a signal for the present half-hour."""
        return bool(self._document["data_centres"]) and self._document["national"]["current"] is not None

    def at(self, now: datetime | None) -> Row:
        """The document as of a moment; as it was answered without one."""
        return self._document if now is None else {**self._document, "as_of": now.isoformat()}

    def context(self, task_row: Row, now: datetime | None, capacity: Capacity | None) -> DecisionContext:
        """The decision context of a workload.

        Args:
            task_row: what the grid lacks: `context_id` and `task`.
            now: the moment that it is for; that of the document without one.
            capacity: the free power.

        Raises:
            pydantic.ValidationError: the database holds what the scorer does not understand.
        """
        parsed = self.parse()
        return parsed.model_copy(
            update={
                "as_of": now or parsed.as_of,
                "context_id": task_row["context_id"],
                "task": Task.model_validate(task_row["task"]),
                "capacity": capacity,
            }
        )

    def parse(self) -> DecisionContext:
        """The document with nobody's workload, parsed the first time; raises as `context` does."""
        if self._parsed is None:
            self._parsed = DecisionContext.model_validate({**self._document, **_NOBODYS})
        return self._parsed


_NOBODYS: Row = {"context_id": "nobody's", "task": {"job_id": "nobodys", "workload_type": "OTHER"}}
