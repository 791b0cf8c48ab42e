"""The decision context: everything a decision is made from, as the database hands it over.

One JSON document, stored with its decision, from which the same scorer version computes the same output
again. Half-hour series are arrays that begin at `start` and step by 30 minutes; `None` is unknown, never
zero. Columns that the scorer does not know are ignored, so the database may add some.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from grid.columns import ACTUAL_CARBON_INTENSITY_COLUMN, CARBON_INTENSITY_COLUMN
from grid.half_hours import half_hour_of, is_half_hour
from grid.model import margin_stress_score
from vocabulary import CarbonIndex, DataCentreStatus, WorkloadStatus
from workloads.model import Amount, UtcDatetime, Workload


def _on_a_half_hour(moment: datetime) -> datetime:
    if not is_half_hour(moment):
        raise ValueError(f"{moment.isoformat()} is not the start of a half-hour")
    return moment


HalfHourStart = Annotated[UtcDatetime, AfterValidator(_on_a_half_hour)]
StressScore = Annotated[float, Field(ge=0, le=1)]
Percentage = Annotated[float, Field(ge=0, le=100)]
SourceCounts = dict[str, int]


class _Fact(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )


class Task(Workload, _Fact):
    """The workload. `carbon_cap_gco2` caps the intensity, `max_price_gbp` the cost of the whole job.

    `runs_at`: the only data centres that can carry it out, as their runners offer what it is to run; None: any.
    """

    status: WorkloadStatus = WorkloadStatus.PENDING
    created_at: UtcDatetime | None = None
    runs_at: tuple[str, ...] | None = None


class NationalSignal(_Fact):
    """The national grid in the present half-hour. The price may be negative."""

    timestamp: HalfHourStart
    settlement_period: int | None = None
    carbon_intensity_gco2_per_kwh: Amount | None = Field(default=None, alias=CARBON_INTENSITY_COLUMN)
    actual_carbon_intensity_gco2_per_kwh: Amount | None = Field(default=None, alias=ACTUAL_CARBON_INTENSITY_COLUMN)
    carbon_index: CarbonIndex | None = None
    demand_mw: float | None = None
    grid_stress_score: StressScore | None = None
    wholesale_price_gbp_mwh: float | None = None
    carbon_source: str | None = None
    demand_source: str | None = None
    price_source: str | None = None
    demand_fetched_at: UtcDatetime | None = None
    price_fetched_at: UtcDatetime | None = None
    fetched_at: UtcDatetime | None = None


class NationalForecast(_Fact):
    """National half-hour series from `start`; lengths may differ."""

    start: HalfHourStart
    carbon_intensity_gco2_per_kwh: tuple[Amount | None, ...] = ()
    demand_mw: tuple[float | None, ...] = ()
    grid_stress_score: tuple[StressScore | None, ...] = ()
    wholesale_price_gbp_mwh: tuple[float | None, ...] = ()
    carbon_sources: SourceCounts = {}
    demand_sources: SourceCounts = {}
    price_sources: SourceCounts = {}
    oldest_demand_fetched_at: UtcDatetime | None = None
    oldest_price_fetched_at: UtcDatetime | None = None
    oldest_fetched_at: UtcDatetime | None = None


class MarginForecast(_Fact):
    """What is forecast to be to spare, by half-hour from `start` on: a second opinion on grid stress."""

    start: HalfHourStart
    source: str
    published_at: UtcDatetime | None = None
    """The oldest of it."""
    derated_margin_mw: tuple[float | None, ...] = ()
    loss_of_load_probability: tuple[StressScore | None, ...] = ()

    @property
    def stress_scores(self) -> tuple[float | None, ...]:
        """By half-hour: 0 to 1, None where it is not known."""
        return tuple(
            None if margin is None or probability is None else margin_stress_score(margin, probability)
            for margin, probability in zip(self.derated_margin_mw, self.loss_of_load_probability, strict=False)
        )


class NationalSignals(_Fact):
    """`margin` is None where no source gives it, and in contexts of before scorer 1.4.0."""

    current: NationalSignal | None = None
    forecast: NationalForecast
    margin: MarginForecast | None = None

    def current_at(self, moment: datetime) -> NationalSignal | None:
        """The current signal, if its half-hour really contains `moment`."""
        return self.current if self.current and self.current.timestamp == half_hour_of(moment) else None


class RegionalSignal(_Fact):
    timestamp: HalfHourStart
    carbon_intensity_gco2_per_kwh: Amount | None = Field(default=None, alias=CARBON_INTENSITY_COLUMN)
    carbon_index: CarbonIndex | None = None
    carbon_source: str | None = None
    fetched_at: UtcDatetime | None = None


class RegionalForecast(_Fact):
    start: HalfHourStart
    carbon_intensity_gco2_per_kwh: tuple[Amount | None, ...] = ()
    carbon_sources: SourceCounts = {}
    oldest_fetched_at: UtcDatetime | None = None


class RegionalSignals(_Fact):
    region_id: int
    short_name: str | None = None
    current: RegionalSignal | None = None
    forecast: RegionalForecast

    def current_at(self, moment: datetime) -> RegionalSignal | None:
        """The current signal, if its half-hour really contains `moment`."""
        return self.current if self.current and self.current.timestamp == half_hour_of(moment) else None


class DataCentre(_Fact):
    """A data centre as stored. `total_capacity_mw` is IT power; `pue` is site energy over IT energy."""

    dc_id: str
    name: str
    operator: str | None = None
    region_id: int
    location_region: str
    latitude: float | None = None
    longitude: float | None = None
    pue: float = Field(ge=1)
    total_capacity_teraflops: Amount
    total_capacity_mw: Amount
    current_load_percentage: Percentage
    flexibility_rating: Annotated[float, Field(ge=0, le=1)]
    min_load_percentage: Percentage | None = None
    ramp_rate_mw_per_min: Amount | None = None
    status: DataCentreStatus
    is_synthetic: bool = False


class GenerationMix(_Fact):
    """Share of each fuel in per cent; `region_id` is None for the whole of Great Britain."""

    region_id: int | None = None
    timestamp: UtcDatetime | None = None
    source: str | None = None
    mix: dict[str, float | None] = {}


FreePowerSteps = tuple[tuple[Annotated[int, Field(ge=0)], float], ...]
"""From the i-th half-hour on, so many kilowatts of IT power are free; only changes are listed."""


def _in_order_from_the_first(steps: FreePowerSteps) -> FreePowerSteps:
    half_hours = [half_hour for half_hour, _ in steps]
    if half_hours[:1] != [0] or half_hours != sorted(set(half_hours)):
        raise ValueError(f"steps by the half-hour must begin at half-hour 0 and go on in order, not at {half_hours}")
    return steps


PriceSteps = tuple[tuple[Annotated[int, Field(ge=0)], Amount], ...]
"""From the i-th half-hour on, a kilowatt of IT power is worth so many pounds in each; only changes are listed."""


class CapacityPrices(_Fact):
    """What one more kilowatt in a half-hour would save the work that is waiting or placed and not begun.

    The capacity prices of the joint plan that was made of that work (`decisions.joint.place_prices`), in each of
    `half_hours` half-hours from `start` on; before and after they are unknown.
    """

    planned_at: UtcDatetime
    workloads: Annotated[int, Field(ge=0)]
    """How many were planned."""
    left_out: Annotated[int, Field(ge=0)]
    """How many of them found no room."""
    method: str
    """How the plan was found: `each_alone`, `exact` or `search`."""
    start: HalfHourStart
    half_hours: Annotated[int, Field(ge=1)]
    gbp_per_kw: dict[str, Annotated[PriceSteps, AfterValidator(_in_order_from_the_first)]]
    """By dc_id. Nobody competes for a data centre that is not named: there it is 0 throughout."""


class Capacity(_Fact):
    """The IT power that each data centre has free in each of `half_hours` half-hours from `start` on.

    Free is what the base load and everything that is promised leave; below 0 counts as nothing. After the last
    half-hour the last step goes on. `decisions.scoring.capacity` reckons with it.
    """

    start: HalfHourStart
    half_hours: Annotated[int, Field(ge=1)]
    free_it_kw: dict[str, Annotated[FreePowerSteps, AfterValidator(_in_order_from_the_first)]]
    """By dc_id. A data centre that is not named has nothing free."""
    prices: CapacityPrices | None = None
    """What that power is worth to others, where it is known."""


class DecisionContext(_Fact):
    """One workload, the grid and the data centres at `as_of`.

    Without a `capacity` (in contexts of before scorer 1.2.0) what the present load leaves is free throughout.
    """

    context_id: str
    as_of: UtcDatetime
    task: Task
    national: NationalSignals
    regional: tuple[RegionalSignals, ...] = ()
    data_centres: tuple[DataCentre, ...] = ()
    generation_mix: tuple[GenerationMix, ...] = ()
    capacity: Capacity | None = None

    @model_validator(mode="after")
    def _names_each_thing_once(self) -> DecisionContext:
        _refuse_repeats("dc_id", (centre.dc_id for centre in self.data_centres))
        _refuse_repeats("region_id", (region.region_id for region in self.regional))
        return self

    def region(self, region_id: int) -> RegionalSignals | None:
        return next((region for region in self.regional if region.region_id == region_id), None)


def _refuse_repeats(name: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{name} {value} appears more than once in the decision context")
        seen.add(value)
