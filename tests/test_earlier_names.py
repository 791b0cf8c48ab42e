"""Modules that scripts of others import by the names they had before the rooms."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("earlier", "now"),
    [("half_hours", "grid.half_hours"), ("grid_rows", "ingest.rows"), ("schedule", "ingest.schedule")],
)
def test_an_earlier_name_is_the_same_module(earlier: str, now: str) -> None:
    assert import_module(earlier) is import_module(now)
