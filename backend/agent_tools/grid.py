"""Tools about the grid: as it is, as it is foretold, and its greenest windows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, model_validator

from agent_tools.definitions import Asked, AskedTime, Call, Given, Named, RegionId, Time, ToolDefinition
from agent_tools.platform_calls import path_part
from agent_tools.refusals import ToolRefused
from agent_tools.windows import Columns, Window, best_windows, extreme
from grid.half_hours import from_rfc3339, rfc3339

MOST_WINDOWS = 5


class GridNowAsked(Asked):
    region_id: RegionId | None = None


class GridNow(Given):
    as_of: Time
    half_hour: Time | None
    region_id: int | None
    region: str | None
    carbon_gco2_per_kwh: float | None
    carbon_index: str | None
    carbon_source: str | None
    carbon_age_minutes: float | None
    mix_percent: dict[str, float]
    demand_mw: float | None
    demand_source: str | None
    demand_age_minutes: float | None
    price_gbp_per_mwh: float | None
    price_source: str | None
    price_age_minutes: float | None
    stress_0_to_1: float | None
    is_synthetic: bool = Field(description="Whether any figure is invented")


async def grid_now(asked: GridNowAsked, call: Call) -> GridNow:
    national = await call.platform.get("/api/v1/grid/forecast")
    as_of = national["as_of"]
    present: dict[str, Any] = next(iter(national["forecast"]), {})
    if asked.region_id is None:
        history = await call.platform.get("/api/v1/grid/history", {"from": _hour_before(as_of), "to": as_of})
        shown = {fuel: shares[-1] for fuel, shares in history["generation_mix"].items() if shares}
        mix = {fuel: share for fuel, share in shown.items() if share is not None}
        actual = present.get("carbon_intensity_actual")
        region = None
        carbon = present.get("carbon_intensity_forecast") if actual is None else actual
        index, source, fetched = (present.get(f"carbon_{name}") for name in ("index", "source", "fetched_at"))
        half_hour = present.get("timestamp")
    else:
        regions = (await call.platform.get("/api/v1/grid/regional"))["regions"]
        found = next(each for each in regions if each["region_id"] == asked.region_id)
        region, mix = found["short_name"], found["generation_mix"]
        carbon, index = found["carbon_intensity_gco2"], found["carbon_index"]
        source, fetched, half_hour = found["data_source"], found["fetched_at"], found["timestamp"]
    sources = [source, present.get("demand_source"), present.get("price_source")]
    return GridNow(
        as_of=as_of,
        half_hour=half_hour,
        region_id=asked.region_id,
        region=region,
        carbon_gco2_per_kwh=carbon,
        carbon_index=index,
        carbon_source=source,
        carbon_age_minutes=_age_minutes(as_of, fetched),
        mix_percent=mix,
        demand_mw=present.get("demand_mw"),
        demand_source=present.get("demand_source"),
        demand_age_minutes=_age_minutes(as_of, present.get("demand_fetched_at")),
        price_gbp_per_mwh=present.get("wholesale_price_gbp_mwh"),
        price_source=present.get("price_source"),
        price_age_minutes=_age_minutes(as_of, present.get("price_fetched_at")),
        stress_0_to_1=present.get("grid_stress_score"),
        is_synthetic="synthetic" in sources,
    )


class GridForecastAsked(Asked):
    region_id: RegionId | None = Field(None, description="Of the carbon")
    hours: int = Field(24, ge=1, le=48)


class Extreme(Given):
    at: Time
    value: float


class GridForecast(Given):
    as_of: Time
    region_id: int | None
    first: Time | None = Field(description="Start of the first half-hour")
    step_minutes: int = 30
    carbon_gco2_per_kwh: list[float | None]
    price_gbp_per_mwh: list[float | None] = Field(description="Great Britain's, as stress is")
    stress_0_to_1: list[float | None]
    least_carbon: Extreme | None
    most_carbon: Extreme | None
    least_price: Extreme | None
    most_price: Extreme | None
    sources: dict[str, list[str]]
    oldest_age_minutes: float | None


async def grid_forecast(asked: GridForecastAsked, call: Call) -> GridForecast:
    national = await call.platform.get("/api/v1/grid/forecast")
    of_carbon = national
    if asked.region_id is not None:
        of_carbon = await call.platform.get("/api/v1/grid/forecast", {"region_id": asked.region_id})
    most = 2 * asked.hours
    nation, carbon = national["forecast"][:most], of_carbon["forecast"][:most]
    first = next((each[0]["timestamp"] for each in (nation, carbon) if each), None)
    columns = (
        Columns.of(first, nation, "wholesale_price_gbp_mwh"),
        Columns.of(first, carbon, "carbon_intensity_forecast"),
    )
    prices, intensities = columns
    stress = Columns.of(first, nation, "grid_stress_score")
    ages = [
        _age_minutes(national["as_of"], row.get(name))
        for row in (*nation, *carbon)
        for name in ("fetched_at",)
        if row.get(name)
    ]
    return GridForecast(
        as_of=national["as_of"],
        region_id=asked.region_id,
        first=first,
        carbon_gco2_per_kwh=intensities.figures,
        price_gbp_per_mwh=prices.figures,
        stress_0_to_1=stress.figures,
        least_carbon=_extreme(intensities, min),
        most_carbon=_extreme(intensities, max),
        least_price=_extreme(prices, min),
        most_price=_extreme(prices, max),
        sources={
            "carbon": _sources(carbon, "carbon_source"),
            "price": _sources(nation, "price_source"),
            "stress": _sources(nation, "demand_source"),
        },
        oldest_age_minutes=max((age for age in ages if age is not None), default=None),
    )


class GreenWindowAsked(Asked):
    duration_minutes: int = Field(ge=1, le=2880)
    region_ids: list[RegionId] | None = Field(None, min_length=1, max_length=17)
    dc_ids: list[Named] | None = Field(None, min_length=1, max_length=20, description="Or these")
    earliest: AskedTime | None = None
    deadline: AskedTime | None = Field(None, description="When it must have ended")
    objective: Literal["carbon", "price"] = "carbon"

    @model_validator(mode="after")
    def _places_once(self) -> GreenWindowAsked:
        if self.region_ids is not None and self.dc_ids is not None:
            raise ValueError("takes region_ids or dc_ids, not both")
        return self


class GreenWindow(Given):
    region_id: int | None
    dc_ids: list[str]
    start: Time
    end: Time
    mean_carbon_gco2_per_kwh: float | None
    mean_price_gbp_per_mwh: float | None
    saving_gco2_per_kwh: float | None = Field(description="Against starting now")
    saving_gbp_per_mwh: float | None


class GreenWindows(Given):
    as_of: Time
    windows: list[GreenWindow] = Field(description="Best first; empty: none fits")


async def find_green_window(asked: GreenWindowAsked, call: Call) -> GreenWindows:
    national = await call.platform.get("/api/v1/grid/forecast")
    as_of = from_rfc3339(national["as_of"])
    first = next((row["timestamp"] for row in national["forecast"]), None)
    if first is None:
        return GreenWindows(as_of=national["as_of"], windows=[])
    prices = Columns.of(first, national["forecast"], "wholesale_price_gbp_mwh")
    carbon: dict[int | None, Columns] = {}
    hosts: dict[int | None, list[str]] = {}
    if asked.region_ids is None and asked.dc_ids is None:
        carbon[None] = Columns.of(first, national["forecast"], "carbon_intensity_forecast")
    else:
        wanted = await _regions_wanted(asked, call, hosts)
        forecasts = await call.platform.get("/api/v1/grid/forecast/regions")
        start = from_rfc3339(forecasts["start"])
        for region_id, figures in zip(forecasts["region_ids"], forecasts["carbon_intensity_gco2"], strict=True):
            if region_id in wanted:
                carbon[region_id] = Columns(start, figures)
    windows = best_windows(
        carbon,
        prices,
        now=as_of,
        duration=timedelta(minutes=asked.duration_minutes),
        earliest=asked.earliest,
        deadline=asked.deadline,
        by_price=asked.objective == "price",
        most=MOST_WINDOWS,
    )
    return GreenWindows(as_of=national["as_of"], windows=[_window(window, hosts) for window in windows])


async def _regions_wanted(asked: GreenWindowAsked, call: Call, hosts: dict[int | None, list[str]]) -> set[int]:
    """The regions, those of the data centres where these were named; `hosts` is told which of them are where."""
    if asked.region_ids is not None:
        return set(asked.region_ids)
    for dc_id in dict.fromkeys(asked.dc_ids or ()):
        found = await call.platform.get_if_there(f"/api/v1/objects/DataCentre/{path_part(dc_id)}")
        if found is None:
            raise ToolRefused("dc_ids names a data centre that is not here: list_data_centres says which are")
        hosts.setdefault(found["object"]["region_id"], []).append(dc_id)
    return {region_id for region_id in hosts if region_id is not None}


def _window(window: Window, hosts: dict[int | None, list[str]]) -> GreenWindow:
    return GreenWindow(
        region_id=window.region_id,
        dc_ids=hosts.get(window.region_id, []),
        start=rfc3339(window.start),
        end=rfc3339(window.end),
        mean_carbon_gco2_per_kwh=_rounded(window.carbon),
        mean_price_gbp_per_mwh=_rounded(window.price),
        saving_gco2_per_kwh=_less(window.carbon_now, window.carbon),
        saving_gbp_per_mwh=_less(window.price_now, window.price),
    )


def _extreme(columns: Columns, which: Any) -> Extreme | None:
    found = extreme(columns, which)
    return None if found is None else Extreme(at=rfc3339(found[0]), value=found[1])


def _sources(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows if row.get(name)))


def _age_minutes(as_of: str, fetched_at: str | None) -> float | None:
    if fetched_at is None:
        return None
    return round((from_rfc3339(as_of) - from_rfc3339(fetched_at)).total_seconds() / 60, 1)


def _hour_before(as_of: str) -> str:
    return rfc3339(from_rfc3339(as_of) - timedelta(hours=1))


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 2)


def _less(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None else round(now - then, 2)


GRID_NOW = ToolDefinition(
    name="grid_now",
    description="The present half-hour of Great Britain's grid or of one of 17 regions: carbon, fuels, demand, price "
    "and stress, with source and age. Not for choosing a time: find_green_window does that.",
    takes=GridNowAsked,
    gives=GridNow,
    run=grid_now,
)
GRID_FORECAST = ToolDefinition(
    name="grid_forecast",
    description="Carbon, price and stress by half-hour for up to 48 hours, in columns. Prices ahead are modelled. To "
    "place a workload: plan_workload.",
    takes=GridForecastAsked,
    gives=GridForecast,
    run=grid_forecast,
)
FIND_GREEN_WINDOW = ToolDefinition(
    name="find_green_window",
    description="Up to 5 windows of a length with the least carbon or price, over regions or data centres, and what "
    "each saves against now. Capacity is plan_workload's, which comes next.",
    takes=GreenWindowAsked,
    gives=GreenWindows,
    run=find_green_window,
)
