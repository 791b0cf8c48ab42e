"""Small answers about the balancing of the grid, of the shape in which Elexon and NESO send them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from grid.half_hours import HALF_HOUR, LONDON, UTC
from upstream_payloads import Json, settled

PUBLISHED_AFTER = timedelta(hours=24, minutes=44)
PARTICIPANTS = "FIRST LIMITED,SECOND LIMITED"


def system_price_row(start: datetime, price: object = 96.79, published_at: datetime | None = None) -> Json:
    at = published_at or start + PUBLISHED_AFTER
    return {
        **settled(start),
        "createdDateTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "systemSellPrice": price,
        "systemBuyPrice": price,
        "bsadDefaulted": False,
        "priceDerivationCode": "N",
        "reserveScarcityPrice": 0.0,
        "netImbalanceVolume": -37.5,
        "replacementPrice": None,
    }


def loss_of_load_row(
    start: datetime, probability: object = 0.0, margin: object = 6_500.25, published_at: datetime | None = None
) -> Json:
    at = published_at or start - timedelta(hours=12)
    return {
        "publishTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "publishingPeriodCommencingTime": f"{at:%Y-%m-%dT%H:00:00Z}",
        **settled(start),
        "forecastHorizon": 12,
        "lossOfLoadProbability": probability,
        "deratedMargin": margin,
    }


def dfs_row(start: datetime, event_id: int = 136, **columns: object) -> dict[str, object]:
    """What every row of the service has."""
    local, end = start.astimezone(LONDON), (start + HALF_HOUR).astimezone(LONDON)
    return {
        "Event ID": event_id,
        "Event Type": "Downwards",
        "Event Tag": "Energy",
        "Delivery Date": f"{local:%d/%m/%Y}",
        "From_Local": f"{local:%H:%M}",
        "To_Local": f"{end:%H:%M}",
        "From_UTC": f"{start.astimezone(UTC):%H:%M}",
        "To_UTC": f"{(start + HALF_HOUR).astimezone(UTC):%H:%M}",
        "Service Requirement Type": "Live",
        **columns,
    }


def dfs_requirement(start: datetime, mw: object = 500, event_id: int = 136, **columns: object) -> dict[str, object]:
    own = {
        "DFS Submission Time_Local": f"{start.astimezone(LONDON):%d/%m/%Y} 12:00",
        "Service Requirement MW": mw,
        "Guaranteed Acceptance Price GBP per MWh": 0,
        "Dispatch Type": "All Participants",
        "Participant Bids Eligible": PARTICIPANTS,
        "Zonal Cap": "Z1:0,Z6:500",
    }
    return dfs_row(start, event_id, **(own | columns))


def dfs_bid(
    start: datetime, unit_id: str, mw: object, price: object, status: str = "Accepted", event_id: int = 136
) -> dict[str, object]:
    own = {
        "Registered DFS Participant": "FIRST LIMITED",
        "DFS Unit ID": unit_id,
        "Zone": 6,
        "DFS Procured MW": mw,
        "Utilisation Price GBP per MWh": price,
        "Status": status,
    }
    return dfs_row(start, event_id, **own)


def dfs_summary(
    start: datetime, mw: object, cost: object, settled_mw: object = "", settled_cost: object = "", event_id: int = 136
) -> dict[str, object]:
    own = {
        "Service Requirement MW": 500,
        "DFS Procured MW": mw,
        "DFS Provider Bids Accepted Total Cost GBP": cost,
        "Settled Volume MW": settled_mw,
        "Settled Cost GBP": settled_cost,
    }
    return dfs_row(start, event_id, **own)


def csv_file(rows: Iterable[Mapping[str, object]]) -> bytes:
    """The rows as one file; at least one."""
    every, text = list(rows), io.StringIO()
    writer = csv.DictWriter(text, every[0].keys())
    writer.writeheader()
    writer.writerows(every)
    return text.getvalue().encode()
