"""Loads the history of the grid, piece by piece, with progress."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from tqdm import tqdm

from database.interface import Database
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339, settlement_date, settlement_period_start
from ingest.market import MarketData, store_market
from ingest.rows import Fetched, fetched_rows
from ingest.sources import Upstreams, failure_of
from printable import LONGEST_REASON, printable
from upstreams.results import FetchResult, RowT

log = logging.getLogger(__name__)

STEP = timedelta(days=1)
PRICED_AFTER = timedelta(hours=25)
"""By then a half-hour's system price is there; a day that has none yet is the next run's, not history."""


def backfill(database: Database, upstreams: Upstreams, *, span: timedelta, now: datetime) -> int:
    """Store what the sources say of the last `span`, newest day first: an interruption keeps what matters.

    A source that has nothing for a day is named and left out; figures already stored give way only to as good
    ones. Running it again fills what is missing. Returns an exit status: 0 when every source answered for
    every day.

    Raises:
        DatabaseError: a day could not be stored.
    """
    end = half_hour_of(now)
    days = list(_days(end - span, end))
    failures = 0
    on_terminal = sys.stderr.isatty()
    with tqdm(days, desc="back-fill", unit="day", disable=not on_terminal) as progress:
        for number, (first, last) in enumerate(progress, start=1):
            fetched, failed = _fetch(upstreams, first, last, now)
            market, missing = _fetch_market(upstreams, first, last, now)
            failed += missing
            failures += len(failed)
            counts = _store(database, fetched, now) | store_market(database, market, now)
            for reason in failed:
                told = printable(reason, LONGEST_REASON)
                progress.write(f"back-fill: {told}", file=sys.stderr) if on_terminal else log.warning("%s", told)
            if not on_terminal:
                log.info("backfill day=%s (%d of %d) %s", rfc3339(first)[:10], number, len(days), counts)
    log.info("backfill from=%s to=%s failures=%d", rfc3339(end - span), rfc3339(end), failures)
    return 1 if failures else 0


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while end > start:
        yield max(start, end - STEP), end
        end -= STEP


def _fetch(upstreams: Upstreams, start: datetime, end: datetime, now: datetime) -> tuple[Fetched, list[str]]:
    parts: list[tuple[str, Callable[[], tuple[Any, ...]]]] = [
        ("national_carbon", lambda: _all_rows(upstreams.carbon.national_between(start, end, now=now))),
        ("regional_carbon", lambda: _all_rows(upstreams.carbon.regional_between(start, end, now=now))),
        ("national_mix", lambda: _all_rows(upstreams.carbon.generation_between(start, end, now=now))),
        ("elexon_demand", lambda: upstreams.elexon.demand_outturn(start, end, now=now).rows),
        ("prices", lambda: upstreams.elexon.market_index_price(start, end, now=now).rows),
    ]
    fetched, failed = Fetched(), []
    for name, fetch in parts:
        try:
            fetched = replace(fetched, **{name: fetch()})
        except Exception as error:  # noqa: BLE001, PERF203 - five calls a day of history, each alone
            failed.append(failure_of(name, error))
    return fetched, failed


def _fetch_market(
    upstreams: Upstreams, start: datetime, end: datetime, now: datetime
) -> tuple[MarketData, list[str]]:
    """System prices only: the files of the Demand Flexibility Service hold all its history at every run."""
    touched = {settlement_date(start), settlement_date(end - HALF_HOUR)}
    days = [day for day in touched if settlement_period_start(day, 1) + PRICED_AFTER <= now]
    if not days:
        return MarketData(), []
    try:
        prices = upstreams.elexon.system_prices(days, now=now).rows
    except Exception as error:  # noqa: BLE001 - as the others
        return MarketData(), [failure_of("system_prices", error)]
    return MarketData(system_prices=prices), []


def _all_rows(results: Iterator[FetchResult[RowT]]) -> tuple[RowT, ...]:
    return tuple(row for result in results for row in result.rows)


def _store(database: Database, fetched: Fetched, now: datetime) -> dict[str, int]:
    rows = fetched_rows(fetched, fetched_at=now)
    document = orjson.loads(orjson.dumps(rows.batch(), option=orjson.OPT_NON_STR_KEYS))
    counts: dict[str, int] = database.call("store_signals", {"p_batch": document}, repeatable=True)
    return counts
