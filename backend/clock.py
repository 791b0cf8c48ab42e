"""The one clock. Programs read it and hand the time on; whatever reckons with time takes it as an argument."""

from __future__ import annotations

from datetime import datetime, timezone


def utc_now() -> datetime:
    """The present moment. Only entry points call this; everything below them is told the time."""
    return datetime.now(timezone.utc)
