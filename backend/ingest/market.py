"""What the balancing market said, as the database stores it: imbalance, margin, the Demand Flexibility Service.

Figures go as text: what is settled in pounds and pence passes through no float. Of the service's files, which are
whole histories, only the events that changed are sent.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from database.interface import Database
from decimal_text import decimal_text
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339, settlement_date
from upstreams.dfs_rows import DfsBid, DfsRequirement, DfsRow, DfsSummary
from upstreams.loss_of_load import LossOfLoad
from upstreams.system_prices import SystemPrice

Document = dict[str, Any]

RECENT_DAYS = 3
REVISED_DAYS = 48
"""Settlement dates before the recent ones that are asked for again, one each run: each of them about once a day."""
EVENTS_AT_ONCE = 20


@dataclass(frozen=True)
class MarketData:
    """What the sources answered, each part possibly empty."""

    system_prices: tuple[SystemPrice, ...] = ()
    loss_of_load: tuple[LossOfLoad, ...] = ()
    dfs_requirements: tuple[DfsRequirement, ...] = ()
    dfs_bids: tuple[DfsBid, ...] = ()
    dfs_summaries: tuple[DfsSummary, ...] = ()


def settlement_dates_to_ask(now: datetime) -> list[date]:
    """Today and the two days before, whose prices come and change, and one earlier day, which may have been revised.

    Which one goes by the half-hour of the day: a pipeline that runs every second half-hour reads every second date
    one day, and the others the next.
    """
    slot = half_hour_of(now)
    today = settlement_date(slot)
    turn = (slot - slot.replace(hour=0, minute=0)) // HALF_HOUR
    return [
        today - timedelta(days=RECENT_DAYS + turn),
        *(today - timedelta(days=days) for days in reversed(range(RECENT_DAYS))),
    ]


def store_market(database: Database, market: MarketData, fetched_at: datetime) -> dict[str, int]:
    """Store what is new of it, after the grid's signals, and say how much that was. Repeating it changes nothing.

    Raises:
        DatabaseError: the database does not answer.
    """
    counts: dict[str, int] = {}
    if market.system_prices:
        prices = [_price(row, fetched_at) for row in market.system_prices]
        counts["price_revisions"] = database.call("store_system_prices", {"p_rows": prices}, repeatable=True)
    if market.loss_of_load:
        margins = [_margin(row, fetched_at) for row in market.loss_of_load]
        counts["margins"] = database.call("store_loss_of_load", {"p_rows": margins}, repeatable=True)
    if market.dfs_requirements or market.dfs_bids or market.dfs_summaries:
        known = database.call("known_dfs_events", repeatable=True)
        events = changed_dfs_events(market, known, fetched_at)
        counts["dfs_events"] = sum(
            database.call("store_dfs_events", {"p_events": events[first : first + EVENTS_AT_ONCE]}, repeatable=True)
            for first in range(0, len(events), EVENTS_AT_ONCE)
        )
    return counts


def changed_dfs_events(
    market: MarketData, known: Mapping[str, Mapping[str, str | None]], fetched_at: datetime
) -> list[Document]:
    """The events with those of their parts that differ from what is known of them by its digest."""
    documents: dict[str, Document] = {}
    for part, rows, write in (
        ("requirements", market.dfs_requirements, _requirement),
        ("bids", market.dfs_bids, _bid),
        ("summaries", market.dfs_summaries, _summary),
    ):
        for event_ref, of_event in _by_event(rows).items():
            written = [write(row) for row in of_event]
            digest = _digest(written)
            if known.get(event_ref, {}).get(part) == digest:
                continue
            document = documents.setdefault(event_ref, {"event_ref": event_ref, "fetched_at": rfc3339(fetched_at)})
            document |= _widened(document, of_event)
            document |= {part: written, f"{part}_digest": digest}
            if isinstance(of_event[0], DfsRequirement):
                document |= _announced(of_event[0])
    return list(documents.values())


def _by_event(rows: Sequence[DfsRow]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.event_ref].append(row)
    return found


def _digest(rows: list[Document]) -> str:
    lines = sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _widened(document: Document, rows: list[DfsRow]) -> Document:
    """What all rows of an event say of it, and from when until when it takes place, as far as is known."""
    first, last = min(row.start for row in rows), max(row.start for row in rows) + HALF_HOUR
    row = rows[0]
    return {
        "event_id": row.event_id,
        "direction": row.direction,
        "tag": row.tag,
        "requirement_type": row.requirement_type,
        "delivery_date": row.delivery_date.isoformat(),
        "starts_at": min([rfc3339(first), *_told(document, "starts_at")]),
        "ends_at": max([rfc3339(last), *_told(document, "ends_at")]),
    }


def _told(document: Document, name: str) -> Iterator[str]:
    if name in document:
        yield document[name]


def _announced(row: DfsRequirement) -> Document:
    return {
        "submitted_at": rfc3339(row.submitted_at),
        "dispatch_type": row.dispatch_type,
        "participants": list(row.participants),
    }


def _requirement(row: DfsRequirement) -> Document:
    return {
        "half_hour": rfc3339(row.start),
        "requirement_mw": _text(row.requirement_mw),
        "guaranteed_price_gbp_mwh": _text(row.guaranteed_price_gbp_per_mwh),
        "zonal_caps_mw": {str(zone): _text(cap) for zone, cap in row.zonal_caps_mw.items()},
    }


def _bid(row: DfsBid) -> Document:
    return {
        "half_hour": rfc3339(row.start),
        "unit_id": row.unit_id,
        "participant": row.participant,
        "zone": row.zone,
        "bid_mw": _text(row.bid_mw),
        "price_gbp_mwh": _text(row.price_gbp_per_mwh),
        "status": row.status,
    }


def _summary(row: DfsSummary) -> Document:
    return {
        "half_hour": rfc3339(row.start),
        "requirement_mw": _text(row.requirement_mw),
        "procured_mw": _text(row.procured_mw),
        "accepted_cost_gbp": _text(row.accepted_cost_gbp),
        "settled_mw": _text(row.settled_mw),
        "settled_cost_gbp": _text(row.settled_cost_gbp),
    }


def _price(row: SystemPrice, fetched_at: datetime) -> Document:
    return {
        "half_hour": rfc3339(row.start),
        "system_price_gbp_mwh": _text(row.price_gbp_per_mwh),
        "net_imbalance_volume_mwh": _text(row.net_imbalance_volume_mwh),
        "reserve_scarcity_price_gbp_mwh": _text(row.reserve_scarcity_price_gbp_per_mwh),
        "derivation_code": row.derivation_code,
        "bsad_defaulted": row.bsad_defaulted,
        "published_at": rfc3339(row.published_at),
        "fetched_at": rfc3339(fetched_at),
    }


def _margin(row: LossOfLoad, fetched_at: datetime) -> Document:
    return {
        "half_hour": rfc3339(row.start),
        "probability": _text(row.probability),
        "derated_margin_mw": _text(row.derated_margin_mw),
        "horizon_hours": row.horizon_hours,
        "published_at": rfc3339(row.published_at),
        "fetched_at": rfc3339(fetched_at),
    }


def _text(figure: Decimal | None) -> str | None:
    return None if figure is None else decimal_text(figure)
