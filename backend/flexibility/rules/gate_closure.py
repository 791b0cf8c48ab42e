"""Gate closure: an hour before a half-hour begins nothing about it can be notified or changed any more."""

from __future__ import annotations

from datetime import datetime, timedelta

BEFORE_START = timedelta(hours=1)


def gate_closure(start: datetime) -> datetime:
    """When the gate of the half-hour from `start` closes."""
    return start - BEFORE_START


def is_open(start: datetime, now: datetime) -> bool:
    """Whether something can still be notified for the half-hour from `start`."""
    return now + BEFORE_START < start  # a start that somebody states may be at the beginning of time
