"""Requirements of the Demand Flexibility Service as they become events."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from flexibility.dfs_door import event_of
from flexibility.event_model import Door, Programme

HALF_PAST_FIVE = "2026-09-29T17:30:00+00:00"
SIX = "2026-09-29T18:00:00+00:00"
ACCEPTED = {"accepted_price_gbp_per_mwh": "210.5"}


def requirement(**changes: Any) -> dict[str, Any]:
    period = {"requirement_mw": "500", "guaranteed_price_gbp_per_mwh": "250"}
    return {
        "event_id": "136",
        "event_type": "Downwards",
        "requirement_type": "Live",
        "from_utc": HALF_PAST_FIVE,
        "to_utc": "2026-09-29T18:30:00+00:00",
        "half_hours": [{"half_hour": HALF_PAST_FIVE, **period}, {"half_hour": SIX, **period}],
    } | changes


def test_a_requirement_is_an_event_at_its_guaranteed_price() -> None:
    event = event_of(requirement())
    assert event is not None
    assert (event.door, event.programme, event.source_id) == (Door.DFS, Programme.DFS, "136")
    assert event.starts_at == datetime(2026, 9, 29, 17, 30, tzinfo=timezone.utc)
    assert list(map(str, event.need_mw)) == ["500", "500"]
    assert list(map(str, event.price_gbp_per_mwh)) == ["250", "250"]


@pytest.mark.parametrize(
    ("guaranteed", "accepted", "bid"),
    [("250", "210.5", "250"), ("0", "210.5", "210.5"), (None, "210.5", "210.5"), ("0", None, "0")],
)
def test_a_bid_is_what_was_accepted_last_time_or_the_guaranteed_price_where_that_is_more(
    guaranteed: str | None, accepted: str | None, bid: str
) -> None:
    period = {"half_hour": HALF_PAST_FIVE, "requirement_mw": "1", "guaranteed_price_gbp_per_mwh": guaranteed}
    event = event_of(requirement(half_hours=[period], accepted_price_gbp_per_mwh=accepted))
    assert event is not None
    assert list(map(str, event.price_gbp_per_mwh)) == [bid]


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "Upwards"},
        {"half_hours": []},
        {"half_hours": [{"half_hour": HALF_PAST_FIVE, "requirement_mw": "1", "guaranteed_price_gbp_per_mwh": None}]},
        {"half_hours": [{"half_hour": SIX, "requirement_mw": "1", "guaranteed_price_gbp_per_mwh": "1"}]},
        {"half_hours": [{"half_hour": HALF_PAST_FIVE, "requirement_mw": "1", "guaranteed_price_gbp_per_mwh": "-1"}]},
        {
            "half_hours": [
                {"half_hour": HALF_PAST_FIVE, "requirement_mw": "99000", "guaranteed_price_gbp_per_mwh": "1"}
            ]
        },
        {
            "half_hours": [
                {"half_hour": HALF_PAST_FIVE, "requirement_mw": "0.12345678", "guaranteed_price_gbp_per_mwh": "1"}
            ]
        },
    ],
    ids=["upwards", "empty", "no price", "a gap", "below zero", "more than an event may need", "too many decimals"],
)
def test_what_cannot_be_offered_for_is_no_event(changes: dict[str, Any]) -> None:
    assert event_of(requirement(**changes)) is None
