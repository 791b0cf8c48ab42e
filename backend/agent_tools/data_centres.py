"""Tools about data centres: which there are, and how much power one has free."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from agent_tools.definitions import Asked, Call, Given, Named, RegionId, Time, ToolDefinition
from agent_tools.platform_calls import path_part
from agent_tools.refusals import ToolRefused
from agent_tools.windows import Columns, best_windows
from grid.half_hours import from_rfc3339, rfc3339
from vocabulary import DataCentreStatus

PAGE = 20
ONE_HOUR = timedelta(hours=1)


class DataCentresAsked(Asked):
    region_id: RegionId | None = None
    status: DataCentreStatus | None = None
    min_free_mw: float | None = Field(None, ge=0, allow_inf_nan=False)
    after: Named | None = None


class DataCentreRow(Given):
    dc_id: str
    name: str
    region_id: int
    status: str
    total_mw: float
    free_mw: float = Field(description="Not in use now; what is promised: get_capacity")
    load_percent: float
    pue: float
    execution: str
    carbon_gco2_per_kwh: float | None
    next_green_hour: Time | None = Field(description="The greenest of the next 48")
    is_synthetic: bool


class DataCentres(Given):
    as_of: Time
    data_centres: list[DataCentreRow]
    next: str | None
    truncated: bool = False


async def list_data_centres(asked: DataCentresAsked, call: Call) -> DataCentres:
    forecasts = await call.platform.get("/api/v1/grid/forecast/regions")
    green = _green_hours(forecasts)
    conditions = {
        "region_id": asked.region_id,
        "status": asked.status,
        "limit": PAGE,
        "after": asked.after,
    }
    page = await call.platform.get("/api/v1/objects/DataCentre", conditions)
    rows = [_row(centre, green) for centre in page["objects"]]
    least = asked.min_free_mw
    return DataCentres(
        as_of=forecasts["as_of"],
        data_centres=[row for row in rows if least is None or row.free_mw >= least],
        next=page["next"],
    )


def _row(centre: dict[str, Any], green: dict[int, str]) -> DataCentreRow:
    total = centre["total_capacity_mw"]
    return DataCentreRow(
        dc_id=centre["dc_id"],
        name=centre["name"],
        region_id=centre["region_id"],
        status=centre["status"],
        total_mw=total,
        free_mw=round(max(0.0, total * (1 - centre["current_load_percentage"] / 100)), 3),
        load_percent=centre["current_load_percentage"],
        pue=centre["pue"],
        execution=centre["execution"],
        carbon_gco2_per_kwh=centre["current_carbon_intensity_gco2"],
        next_green_hour=green.get(centre["region_id"]),
        is_synthetic=centre["is_synthetic"],
    )


def _green_hours(forecasts: dict[str, Any]) -> dict[int, str]:
    """The start of each region's greenest hour, as far as it is foretold."""
    start, now = from_rfc3339(forecasts["start"]), from_rfc3339(forecasts["as_of"])
    columns = zip(forecasts["region_ids"], forecasts["carbon_intensity_gco2"], strict=True)
    found = {
        region_id: best_windows(
            {region_id: Columns(start, figures)},
            Columns(None, []),
            now=now,
            duration=ONE_HOUR,
            earliest=None,
            deadline=None,
            by_price=False,
            most=1,
        )
        for region_id, figures in columns
    }
    return {region_id: rfc3339(windows[0].start) for region_id, windows in found.items() if windows}


class CapacityAsked(Asked):
    dc_id: Named
    hours: int = Field(24, ge=1, le=48)


class Capacity(Given):
    as_of: Time
    dc_id: str
    status: str
    first: Time
    step_minutes: int = 30
    total_kw: float
    least_free_kw: float
    most_free_kw: float
    booked_kw: list[float] = Field(description="IT power promised to workloads")
    free_kw: list[float]


async def get_capacity(asked: CapacityAsked, call: Call) -> Capacity:
    found = await call.platform.get_if_there(f"/api/v1/data-centres/{path_part(asked.dc_id)}/capacity")
    if found is None:
        raise ToolRefused("there is no such data centre: list_data_centres says which there are")
    most = 2 * asked.hours
    free = found["free_kw"][:most]
    return Capacity(
        as_of=found["as_of"],
        dc_id=found["dc_id"],
        status=found["status"],
        first=found["start"],
        total_kw=found["total_kw"],
        least_free_kw=min(free),
        most_free_kw=max(free),
        booked_kw=found["booked_kw"][:most],
        free_kw=free,
    )


LIST_DATA_CENTRES = ToolDefinition(
    name="list_data_centres",
    description="Data centres with load, free power, PUE, their region's carbon and next green hour, 20 a page. Only "
    "ACTIVE ones take workloads.",
    takes=DataCentresAsked,
    gives=DataCentres,
    run=list_data_centres,
    rows="data_centres",
    cursor=lambda row: str(row["dc_id"]),
)
GET_CAPACITY = ToolDefinition(
    name="get_capacity",
    description="IT power of one data centre by half-hour: promised and free. plan_workload takes it into account.",
    takes=CapacityAsked,
    gives=Capacity,
    run=get_capacity,
)
