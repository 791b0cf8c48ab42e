"""All three upstream APIs on one loopback server, with small regular figures of the payloads' real shape.

A figure depends on its half-hour alone, so that a test can say what must be stored without looking at the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from balancing_payloads import (
    PUBLISHED_AFTER,
    csv_file,
    dfs_bid,
    dfs_requirement,
    dfs_summary,
    loss_of_load_row,
    system_price_row,
)
from faulty_upstream import Answer, FaultyUpstream, Reply, Seen
from grid.half_hours import HALF_HOUR, LONDON, UTC, half_hour_of, half_hours, settlement_period_start
from settings import Settings, load_settings
from upstream_payloads import (
    Json,
    cardinal_day,
    data,
    datastore,
    demand_forecast_row,
    demand_record,
    generation_row,
    metadata_and,
    national_row,
    outturn_row,
    period,
    price_row,
    region,
)
from upstreams.dfs import BIDS, REQUIREMENTS, SUMMARIES
from upstreams.neso import DAY_AHEAD_RESOURCE

HORIZON = timedelta(hours=48)


def half_hour_of_day(start: datetime) -> int:
    """0 to 47, in UTC."""
    return start.hour * 2 + start.minute // 30


def national_gco2_per_kwh(start: datetime) -> float:
    return 100 + half_hour_of_day(start)


def regional_gco2_per_kwh(region_id: int, start: datetime) -> float:
    return 10 * region_id + half_hour_of_day(start)


def elexon_demand_mw(start: datetime) -> float:
    return 25_000 + 100 * half_hour_of_day(start)


def outturn_demand_mw(start: datetime) -> float:
    return 24_000 + 100 * half_hour_of_day(start)


def neso_demand_mw(start: datetime) -> float:
    """From the day after tomorrow; tomorrow's is the curve through `cardinal_day`."""
    return 26_000 + 100 * half_hour_of_day(start)


def price_gbp_per_mwh(start: datetime) -> float:
    return 60.25 + half_hour_of_day(start)


def system_price_gbp_per_mwh(start: datetime) -> float:
    return 90.5 - 5 * half_hour_of_day(start)


class GridUpstreams(FaultyUpstream):
    """Answers as the APIs do at `now`, except where `faults` names a part of the address asked for."""

    def __init__(self, now: datetime, *, before: Callable[[], None] | None = None) -> None:
        super().__init__(Reply())
        self.now = now
        self.faults: dict[str, Answer] = {}
        self._before = before

    def __enter__(self) -> GridUpstreams:
        super().__enter__()
        return self

    def settings(self, **others: str) -> Settings:
        """Settings that lead the clients here."""
        return load_settings(self.environment() | others)

    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "CARBON_INTENSITY_URL": f"{self.url}/carbon",
            "NESO_URL": f"{self.url}/neso",
            "ELEXON_URL": f"{self.url}/elexon",
        }

    def asked(self, part: str) -> list[str]:
        """The addresses asked for that contain `part`, oldest first."""
        return [seen.path for seen in self.seen if part in seen.path]

    def take(self, seen: Seen) -> Answer:
        super().take(seen)
        if self._before is not None:
            self._before()
        fault = next((answer for part, answer in self.faults.items() if part in seen.path), None)
        return fault or Reply(self._answer(seen.path))

    def dfs_start(self) -> datetime:
        """Of the one event there is: two half-hours of this evening."""
        return self.now.replace(hour=18, minute=0, second=0, microsecond=0)

    def _answer(self, path: str) -> Json | bytes:
        address = urlsplit(path.removeprefix("/api"))
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        match address.path.split("/")[1:]:
            case ["carbon", "intensity", start, end]:
                return data([self._national(at) for at in _window(start, end)])
            case ["carbon", "regional", "intensity", start, end]:
                return data([_regional(at) for at in _window(start, end)])
            case ["carbon", "generation"]:
                return data(generation_row(half_hour_of(self.now) - HALF_HOUR))
            case ["carbon", "generation", start, end]:
                return data([generation_row(at) for at in _window(start, end)])
            case ["neso", "datastore_search"] if query["resource_id"] == DAY_AHEAD_RESOURCE:
                return datastore(cardinal_day(self._london_day(1)))
            case ["neso", "datastore_search"]:
                first = settlement_period_start(self._london_day(2), 1)
                slots = half_hours(first, first + timedelta(days=2))
                return datastore([demand_record(at, neso_demand_mw(at)) for at in slots])
            case ["elexon", "forecast", "demand", "day-ahead"]:
                slots = half_hours(self.now - timedelta(hours=2), self.now + timedelta(hours=30))
                return metadata_and([demand_forecast_row(at, elexon_demand_mw(at)) for at in slots])
            case ["elexon", "balancing", "pricing", "market-index"]:
                slots = half_hours(_moment(query["from"]), _moment(query["to"]))
                return metadata_and([price_row(at, price_gbp_per_mwh(at)) for at in slots])
            case ["elexon", "balancing", "settlement", "system-prices", day]:
                first = settlement_period_start(date.fromisoformat(day), 1)
                slots = half_hours(first, first + timedelta(days=1))  # no day of the tests' is one of a clock change
                known = [at for at in slots if at + PUBLISHED_AFTER <= self.now]
                return metadata_and([system_price_row(at, system_price_gbp_per_mwh(at)) for at in known])
            case ["elexon", "forecast", "system", "loss-of-load"]:
                slots = half_hours(_moment(query["from"]), _moment(query["to"]))
                return metadata_and([loss_of_load_row(at) for at in slots])
            case ["neso", "dataset", _, "resource", REQUIREMENTS.resource_id, "download", _]:
                return csv_file(dfs_requirement(self.dfs_start() + n * HALF_HOUR) for n in range(2))
            case ["neso", "dataset", _, "resource", BIDS.resource_id, "download", _]:
                return csv_file(dfs_bid(self.dfs_start(), f"UNIT-{n}", 2.5, 150 + n) for n in range(2))
            case ["neso", "dataset", _, "resource", SUMMARIES.resource_id, "download", _]:
                return csv_file([dfs_summary(self.dfs_start(), 5, 376.25)])
            case ["elexon", "demand", "outturn"]:
                first = settlement_period_start(date.fromisoformat(query["settlementDateFrom"]), 1)
                after = date.fromisoformat(query["settlementDateTo"]) + timedelta(days=1)
                slots = half_hours(first, min(settlement_period_start(after, 1), self.now))
                return metadata_and([outturn_row(at, outturn_demand_mw(at)) for at in slots])
        raise AssertionError(f"no upstream has the address {path}")

    def _national(self, start: datetime) -> Json:
        over = start + HALF_HOUR <= self.now
        forecast = national_gco2_per_kwh(start)
        return national_row(start, forecast, forecast + 5 if over else None)

    def _london_day(self, days: int) -> date:
        return self.now.astimezone(LONDON).date() + timedelta(days=days)


def _window(start: str, end: str) -> list[datetime]:
    first = half_hour_of(_moment(start))
    if end == "fw48h":
        return list(half_hours(first, first + HORIZON))
    if end == "pt24h":
        return list(half_hours(first - timedelta(hours=24), first))
    return list(half_hours(first, _moment(end)))


def _moment(text: str) -> datetime:
    pattern = "%Y-%m-%dT%H:%M:%SZ" if text.count(":") == 2 else "%Y-%m-%dT%H:%MZ"
    return datetime.strptime(text, pattern).replace(tzinfo=UTC)


def _regional(start: datetime) -> Json:
    return period(start, [region(number, regional_gco2_per_kwh(number, start)) for number in range(1, 19)])
