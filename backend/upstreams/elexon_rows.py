"""The rows of Elexon's routes, which say twice which half-hour they are of: by a time, and by a settlement period."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from upstreams.json_values import JsonObject, half_hour, list_at, read_rows, settlement_period_contradiction
from upstreams.results import Findings, ProblemKind, RejectedRow, Window

_Read = TypeVar("_Read")


def read_labelled(answer: object, read: Callable[[JsonObject], _Read | None], findings: Findings) -> list[_Read]:
    """What `read` makes of each row, those first whose settlement period contradicts their start time.

    They are kept at their start time and noted; of two rows for one half-hour the later one counts, so one whose
    labels agree.
    """
    agreeing: list[_Read] = []
    contradicting: list[_Read] = []

    def labelled(row: JsonObject) -> None:
        found = read(row)
        if found is None:
            return
        contradiction = settlement_period_contradiction(row, half_hour(row.get("startTime"), "startTime"))
        if contradiction is not None:
            findings.note(ProblemKind.WRONG_SETTLEMENT_PERIOD, f"kept at its start time: {contradiction}")
        (agreeing if contradiction is None else contradicting).append(found)

    read_rows(list_at(answer, "data"), labelled, findings, named_by="startTime")
    return contradicting + agreeing


def start_in(row: JsonObject, window: Window) -> datetime:
    """The start of a row that is in the window asked for.

    Raises:
        RejectedRow: it is not, or is no half-hour.
    """
    start = half_hour(row.get("startTime"), "startTime")
    if not window.holds(start):
        raise RejectedRow(ProblemKind.OUTSIDE_WINDOW, f"it is not in {window}")
    return start
