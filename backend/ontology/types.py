"""The ontology: object types with their properties, and the links between them. Declared here, once.

The live state, the objects endpoints, `/api/v1/ontology` and the documentation are generated from these
declarations; a test holds them against the database's columns, keys, indexes and foreign keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, get_args, get_type_hints
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, computed_field
from pydantic.fields import FieldInfo

from grid.half_hours import as_utc, rfc3339
from vocabulary import (
    CarbonIndex,
    DataCentreStatus,
    Execution,
    Fuel,
    SignalSource,
    WorkloadStatus,
)
from workloads.model import About, AmountOf, Workload
from workloads.reshaping import reshaped

Moment = Annotated[AwareDatetime, AfterValidator(as_utc)]
RegionId = Annotated[int, Field(ge=1, le=17)]
Document = Any  # a JSON document that is kept as it is

KEY_SEPARATOR = "~"  # between the parts of an id: unreserved in URLs, and in no key


def prop(meaning: str, unit: str | None = None, *, filterable: bool = False, detail: bool = False) -> Any:
    """A property: its meaning and unit, whether objects can be filtered by it (it has an index), and whether it is
    left out of lists because it is large."""
    return Field(
        None if detail else ...,
        description=meaning,
        json_schema_extra={"unit": unit, "filterable": filterable, "detail": detail},
    )


class ObjectType(BaseModel):
    """One object: a row of `table`, known by `key` and called by `title_property`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    title_property: ClassVar[str]
    in_live_state: ClassVar[bool] = True
    """Whether it is of the present world, or only of its history."""

    @computed_field(description="The object's identity: its key, parts joined by ~.")  # type: ignore[prop-decorator]
    @property
    def id(self) -> str:
        return KEY_SEPARATOR.join([_key_text(getattr(self, name)) for name in self.key])

    @classmethod
    def properties(cls) -> dict[str, dict[str, Any]]:
        """Every property with its `unit`, `filterable` and `detail`."""
        return {name: dict(field.json_schema_extra) for name, field in cls.model_fields.items()}  # type: ignore[arg-type]

    @classmethod
    def listed(cls) -> list[str]:
        """The properties that a list of these objects shows."""
        return [name for name, about in cls.properties().items() if not about["detail"]]

    @classmethod
    def filterable(cls) -> list[str]:
        return [name for name, about in cls.properties().items() if about["filterable"]]


class Operator(ObjectType):
    """A company that runs data centres, storage or agents, or owns workloads."""

    table = "operators"
    key = ("operator_id",)
    title_property = "name"

    operator_id: str = prop("Identity of the operator", filterable=True)
    name: str = prop("Its name")
    operator_type: str = prop("CLOUD, COLOCATION, AI_LAB, GRID, STORAGE or OTHER")
    country: str = prop("Where it is registered, ISO 3166")
    is_synthetic: bool = prop("Whether it was made up by this program")
    created_at: Moment = prop("When it was stored")
    updated_at: Moment = prop("When it last changed")


class Region(ObjectType):
    """A region of the Carbon Intensity API: a distribution licence area, or a country made up of several."""

    table = "regions"
    key = ("region_id",)
    title_property = "short_name"

    region_id: RegionId = prop("The API's number for the region, 1 to 17", filterable=True)
    short_name: str = prop("The region's name", filterable=True)
    dno_region: str = prop("The distribution network operator")
    country: str = prop("England, Scotland or Wales")
    is_aggregate: bool = prop("Whether it is a whole country, made up of other regions")
    latitude: float = prop("Latitude of a place in it", "degrees north")
    longitude: float = prop("Longitude of a place in it", "degrees east")


class GridSignal(ObjectType):
    """Great Britain's grid in one half-hour."""

    table = "grid_signals"
    key = ("timestamp",)
    title_property = "timestamp"

    timestamp: Moment = prop("Start of the half-hour", "UTC", filterable=True)
    settlement_period: int = prop("The market's number for the half-hour, 1 to 50")
    carbon_intensity_forecast: float | None = prop("Forecast carbon intensity", "gCO2/kWh")
    carbon_intensity_actual: float | None = prop("Estimated actual carbon intensity", "gCO2/kWh")
    carbon_index: CarbonIndex | None = prop("The intensity in a word")
    demand_mw: float | None = prop("National demand", "MW")
    grid_stress_score: float | None = prop("How stressed the grid is, from its demand: 0 to 1", "1")
    wholesale_price_gbp_mwh: float | None = prop("Market index price, or a model of it", "GBP/MWh")
    carbon_source: SignalSource | None = prop("Where the carbon intensity comes from")
    demand_source: SignalSource | None = prop("Where the demand comes from")
    price_source: SignalSource | None = prop("Where the price comes from")
    carbon_fetched_at: Moment | None = prop(
        "When the carbon intensity, or what it is modelled on, was fetched; when it was made, if it is synthetic"
    )
    demand_fetched_at: Moment | None = prop("The same for the demand")
    price_fetched_at: Moment | None = prop("The same for the price")
    fetched_at: Moment | None = prop("The oldest of these three")
    demand_interpolated: bool = prop("Whether the demand lies on our curve between NESO's cardinal points")


class RegionalGridSignal(ObjectType):
    """One region's grid in one half-hour."""

    table = "regional_grid_signals"
    key = ("region_id", "timestamp")
    title_property = "timestamp"

    region_id: RegionId = prop("The region", filterable=True)
    timestamp: Moment = prop("Start of the half-hour", "UTC")
    carbon_intensity_forecast: float | None = prop("Forecast carbon intensity", "gCO2/kWh")
    carbon_index: CarbonIndex | None = prop("The intensity in a word")
    carbon_source: SignalSource = prop("Where the carbon intensity comes from")
    fetched_at: Moment = prop("When it, or what it is modelled on, was fetched; when it was made, if it is synthetic")


class GenerationMix(ObjectType):
    """One fuel's share of the electricity of a region, or of Great Britain, in one half-hour."""

    table = "generation_mix"
    key = ("mix_id",)
    title_property = "fuel"

    mix_id: int = prop("Identity of the share", filterable=True)
    region_id: RegionId | None = prop("The region; null for Great Britain", filterable=True)
    timestamp: Moment = prop("Start of the half-hour", "UTC")
    fuel: Fuel = prop("The fuel")
    percentage: float = prop("Its share of the electricity", "%")
    mix_source: SignalSource = prop("Where the share comes from")
    national_timestamp: Moment | None = prop(
        "The half-hour, where the share is a national one", "UTC", filterable=True
    )


class SystemPrice(ObjectType):
    """What imbalance in one half-hour is bought and sold at, as the newest settlement run found it."""

    table = "system_prices"
    key = ("half_hour",)
    title_property = "half_hour"
    in_live_state = False  # no half-hour that is running has one

    half_hour: Moment = prop("Start of the half-hour", "UTC", filterable=True)
    revision: int = prop("How many different prices were read of it, this one included")
    system_price_gbp_mwh: float = prop("The single imbalance price", "GBP/MWh")
    net_imbalance_volume_mwh: float | None = prop("Above 0 the system was short", "MWh")
    reserve_scarcity_price_gbp_mwh: float | None = prop("What short reserve was worth", "GBP/MWh")
    derivation_code: str | None = prop("Elexon's letters for how the price came about")
    bsad_defaulted: bool | None = prop("Whether the balancing services data was a default")
    published_at: Moment = prop("When the settlement run made it")
    fetched_at: Moment = prop("When it was fetched")


class DataCentre(ObjectType):
    """A place that can run workloads."""

    table = "data_centres"
    key = ("dc_id",)
    title_property = "name"

    dc_id: str = prop("Identity of the data centre", filterable=True)
    name: str = prop("Its name")
    operator: str | None = prop("Who runs it", filterable=True)
    region_id: RegionId = prop("The grid region it draws from", filterable=True)
    location_region: str = prop("That region's name")
    latitude: float = prop("Latitude", "degrees north")
    longitude: float = prop("Longitude", "degrees east")
    pue: float = prop("Power usage effectiveness: site energy over IT energy", "1")
    total_capacity_teraflops: float = prop("Compute capacity", "TFLOP/s")
    total_capacity_mw: float = prop("IT power capacity", "MW")
    current_load_percentage: float = prop("Share of the capacity in use", "%")
    base_load_percentage: float | None = prop(
        "Share of the capacity that others than the bookings here draw; null: what is in use at present", "%"
    )
    flexibility_rating: float = prop("How freely it can move load in time: 0 to 1", "1")
    min_load_percentage: float = prop("Load it cannot go below", "%")
    ramp_rate_mw_per_min: float | None = prop("How fast its load may change", "MW/min")
    status: DataCentreStatus = prop("Whether it takes workloads: only ACTIVE ones do", filterable=True)
    execution: Execution = prop("Who runs what is booked there: simulated, or the runners of its owner")
    current_carbon_intensity_gco2: float | None = prop("Carbon intensity of its region", "gCO2/kWh")
    carbon_intensity_timestamp: Moment | None = prop("The half-hour that intensity is of", "UTC")
    carbon_intensity_source: SignalSource | None = prop("Where that intensity comes from")
    is_synthetic: bool = prop("Whether it was made up by this program")
    created_at: Moment = prop("When it was stored")
    updated_at: Moment = prop("When it last changed")


def _as_column(field: FieldInfo, about: About) -> tuple[Any, Any]:
    kind = about.number | None if isinstance(about, AmountOf) else field.annotation
    return kind, prop(about.meaning, about.unit)


@reshaped(_as_column)
class ComputeWorkload(Workload, ObjectType):
    """A job that waits for a place and a time, runs, or has run."""

    table = "compute_workloads"
    key = ("job_id",)
    title_property = "job_id"

    job_id: str = prop("Identity of the job", filterable=True)
    operator: str | None = prop("Who owns it", filterable=True)
    host_dc_id: str | None = prop("The data centre it is placed in", filterable=True)
    status: WorkloadStatus = prop("What state it is in", filterable=True)
    status_reason: str | None = prop("Why it is in that state")
    scheduled_start: Moment | None = prop("When it is to start", "UTC")
    actual_start: Moment | None = prop("When it started", "UTC")
    actual_end: Moment | None = prop("When it ended", "UTC")
    actual_energy_kwh: float | None = prop("Site energy it used", "kWh")
    actual_carbon_gco2: float | None = prop("Carbon emitted for it", "gCO2")
    actual_cost_gbp: float | None = prop("What its energy cost", "GBP")
    actuals_basis: Document = prop(
        "What these figures rest on, in half-hours, how often they were revised, and whether they may be again"
    )
    run: Document = prop("What a runner is to run for it: a template's name and parameters")
    submission_digest: str | None = prop("Digest of the submission, which tells a repeat from a change")
    is_synthetic: bool = prop("Whether it was made up by this program")
    created_at: Moment = prop("When it was stored")
    updated_at: Moment = prop("When it last changed")


class CapacityBooking(ObjectType):
    """A promise of power to a workload, held in every half-hour that it touches while it is HELD or RUNNING."""

    table = "capacity_bookings"
    key = ("booking_key",)
    title_property = "job_id"

    booking_key: UUID = prop("Identity of the booking", filterable=True)
    dc_id: str = prop("The data centre whose power it is", filterable=True)
    job_id: str | None = prop(
        "The workload it is for; null of what a flexibility event or an award holds", filterable=True
    )
    source: str = prop("Who promised: decision, beckn_order, flexibility or negotiation")
    order_id: UUID | None = prop("The order over Beckn that it was promised to", filterable=True)
    state: str = prop("HELD, RUNNING, ENDED or RELEASED")
    starts_at: Moment = prop("Start of its window", "UTC")
    ends_at: Moment = prop("End of its window", "UTC")
    it_power_kw: float = prop("IT power it holds", "kW")
    reason: str | None = prop("Why it was given back")
    run_now: Document = prop("What it would have been without a decision: the run at once that it is compared with")
    carried_out_by: str = prop(
        "Who runs it: simulation, runner or order; flexibility, negotiation: nobody, it is kept"
    )
    started_at: Moment | None = prop("When its run began", "UTC")
    ended_at: Moment | None = prop("When its run ended, or it was given back", "UTC")
    cancel_requested_at: Moment | None = prop("When its owner asked its runner to stop it", "UTC")
    flexibility_event_id: UUID | None = prop("The flexibility event that keeps the power free", filterable=True)
    negotiation_id: UUID | None = prop("The negotiation whose award holds the power", filterable=True)
    created_at: Moment = prop("When it was made")
    updated_at: Moment = prop("When it last changed")


class WorkloadRun(ObjectType):
    """A run that has ended: what it came to, beside what it would have come to without a decision."""

    table = "run_accounts"
    key = ("booking_key",)
    title_property = "job_id"
    in_live_state = False

    booking_key: UUID = prop("The booking that it ran by, which is its identity", filterable=True)
    job_id: str = prop("The workload that ran", filterable=True)
    dc_id: str = prop("The data centre it ran in", filterable=True)
    started_at: Moment = prop("When it began", "UTC", filterable=True)
    ended_at: Moment = prop("When it ended", "UTC")
    it_energy_wh: float = prop("IT energy", "Wh")
    site_energy_wh: float = prop("Site energy", "Wh")
    carbon_gco2: float | None = prop("Carbon emitted for it; null where one of its half-hours is not known", "gCO2")
    cost_gbp: float | None = prop("What its energy cost; null where one of its half-hours is not known", "GBP")
    run_now_dc_id: str | None = prop("Where it would have run without a decision; null where none was fixed")
    run_now_starts_at: Moment | None = prop("When it would have begun there", "UTC")
    run_now_pue: float | None = prop("PUE of that place", "1")
    run_now_fits: bool | None = prop("Whether there would have been power for it beside all others that are compared")
    run_now_site_energy_wh: float | None = prop("Site energy of that run", "Wh")
    run_now_carbon_gco2: float | None = prop("Carbon of that run", "gCO2")
    run_now_cost_gbp: float | None = prop("Cost of that run", "GBP")
    predicted_carbon_gco2: float | None = prop("Carbon that its decision foretold", "gCO2")
    predicted_cost_gbp: float | None = prop("Cost that its decision foretold", "GBP")
    predicted_run_now_carbon_gco2: float | None = prop("Carbon that its decision foretold of a run at once", "gCO2")
    predicted_run_now_cost_gbp: float | None = prop("Cost that its decision foretold of a run at once", "GBP")
    basis: Document = prop("What these figures rest on, in half-hours")
    revision: int = prop("How often the figures were worked out")
    accounted_at: Moment = prop("When they were worked out last")
    settled_at: Moment | None = prop("When they became final; null: they may still be revised")


class MeterReading(ObjectType):
    """What a run of a workload used in one half-hour. A correction is a further revision: the newest counts."""

    table = "meter_readings"
    key = ("reading_id",)
    title_property = "half_hour"
    in_live_state = False

    reading_id: UUID = prop("Identity of the reading", filterable=True)
    dc_id: str = prop("The data centre it ran in", filterable=True)
    job_id: str = prop("The workload that ran", filterable=True)
    half_hour: Moment = prop("Start of the half-hour", "UTC")
    it_energy_wh: float = prop("IT energy", "Wh")
    site_energy_wh: float = prop("Site energy: IT energy and the site's overhead", "Wh")
    source: str = prop("How it is known: simulated, rapl, power_x_time or reported")
    revision: int = prop("1, and one more for each correction of the same half-hour of the same run")
    recorded_at: Moment = prop("When it was recorded")


class Agent(ObjectType):
    """A program that acts here: the pipeline, a gateway, a platform."""

    table = "agents"
    key = ("agent_id",)
    title_property = "name"

    agent_id: str = prop("Identity of the agent", filterable=True)
    name: str = prop("Its name")
    agent_type: str = prop("What it does")
    operator: str | None = prop("Who runs it", filterable=True)
    version: str | None = prop("Its software's version")
    status: str = prop("ACTIVE or STOPPED")
    is_synthetic: bool = prop("Whether it was made up by this program")
    created_at: Moment = prop("When it was stored")
    updated_at: Moment = prop("When it last changed")


class AgentState(ObjectType):
    """What an agent said about itself at one moment."""

    table = "agent_states"
    key = ("state_id",)
    title_property = "state"

    state_id: int = prop("Identity of the record", filterable=True)
    agent_id: str = prop("The agent", filterable=True)
    state: str = prop("Its state in a word")
    detail: str | None = prop("More about it")
    observed_at: Moment = prop("When it was in that state")


class OrchestrationDecision(ObjectType):
    """One published decision, as it was made: an entry of the immutable audit log."""

    table = "orchestration_decisions"
    key = ("decision_id",)
    title_property = "job_id"

    decision_id: UUID = prop("Identity of the decision", filterable=True)
    notification_id: int | None = prop("The notification it answers", filterable=True)
    sequence: int | None = prop("Its place in the order of publication", filterable=True)
    job_id: str = prop("The workload it is about", filterable=True)
    agent_id: str | None = prop("The agent that decided", filterable=True)
    chosen_dc_id: str | None = prop("The data centre it chose; null when none could take it", filterable=True)
    recommended_start: Moment | None = prop("When the workload should start", "UTC")
    scorer: str = prop("Who set the published scores: gemini or deterministic")
    model: str | None = prop("The language model that was asked")
    scorer_version: str = prop("Version of the deterministic scorer")
    fallback_reason: str | None = prop("Why the model's scores were not used")
    reasoning: str | None = prop("The decision in a sentence")
    constraints_evaluated: Document = prop("Every constraint that was broken, by data centre", detail=True)
    alternatives_considered: Document = prop(
        "The other options: `dc_id`, `suitability_score`, `objective_gbp`, `start` and `displaced_gbp`, what other "
        "work would save by having the power, £; null where that is not known",
        detail=True,
    )
    context: Document = prop("All inputs of the decision", detail=True)
    output: Document = prop("The published output", detail=True)
    token_usage: Document = prop("What the model read and wrote, in tokens")
    decided_at: Moment = prop("When it was made")
    grid_digest: str | None = prop(
        "SHA-256 of the inputs that it shares with other decisions; null where it shares none", detail=True
    )


class StorageAsset(ObjectType):
    """A battery or another store of electricity."""

    table = "storage_assets"
    key = ("asset_id",)
    title_property = "name"

    asset_id: str = prop("Identity of the asset", filterable=True)
    name: str = prop("Its name")
    operator: str | None = prop("Who runs it", filterable=True)
    region_id: RegionId = prop("The grid region it is connected in", filterable=True)
    asset_type: str = prop("BATTERY, PUMPED_HYDRO or OTHER")
    capacity_mwh: float = prop("Energy it can hold", "MWh")
    power_mw: float = prop("Power it can give or take", "MW")
    state_of_charge_percentage: float | None = prop("How full it is", "%")
    round_trip_efficiency: float | None = prop("Energy out over energy in: 0 to 1", "1")
    status: str = prop("ACTIVE, MAINTENANCE or OFFLINE")
    is_synthetic: bool = prop("Whether it was made up by this program")
    created_at: Moment = prop("When it was stored")
    updated_at: Moment = prop("When it last changed")


class FlexibilityUnit(ObjectType):
    """What is sold to the grid together: the data centres and batteries of one owner in one GSP group."""

    table = "flexibility_units"
    key = ("unit_id",)
    title_property = "unit_id"

    unit_id: str = prop("Identity of the unit, as settlement names secondary units", filterable=True)
    gsp_group: str = prop("Its group of grid supply points: a licence area, _A to _P")
    region_id: RegionId = prop("The grid region of that group", filterable=True)
    created_at: Moment = prop("When it was stored")


class FlexibilityEvent(ObjectType):
    """A grid's need of less load in some half-hours, what it pays, and how far it has come."""

    table = "flexibility_events"
    key = ("event_id",)
    title_property = "source_id"

    event_id: UUID = prop("Identity of the event", filterable=True)
    door: str = prop("How it came in: dfs, beckn, openadr or manual")
    source_id: str = prop("What its source calls it")
    programme: str = prop("The rule that it is paid by: P415, DFS or DEG")
    starts_at: Moment = prop("Start of its first half-hour", "UTC", filterable=True)
    ends_at: Moment = prop("End of its last half-hour", "UTC")
    gate_closes_at: Moment = prop("When it is too late for it to change", "UTC")
    need_mw: Document = prop("How much less is to be drawn, by half-hour", "MW")
    price_gbp_per_mwh: Document = prop("What is paid for it, by half-hour", "GBP/MWh")
    penalty_gbp_per_mwh: Document = prop("DEG alone: what is charged for what does not come", "GBP/MWh")
    compensation: str = prop("Who pays the suppliers: mutualised or bilateral")
    in_day: str = prop("Whether baselines are adjusted on the day: additive or none")
    document: Document = prop("What its source said, as it came", detail=True)
    state: str = prop("ANNOUNCED, OFFERED, COMMITTED, NOTIFIED, DELIVERED, SETTLED, or DECLINED, MISSED or CANCELLED")
    state_reason: str | None = prop("Why it is in that state")
    announced_at: Moment = prop("When it was announced")
    updated_at: Moment = prop("When it last changed")


class FlexibilityMove(ObjectType):
    """A workload that gave way for a flexibility event: from where to where, and what that cost."""

    table = "flexibility_moves"
    key = ("event_id", "job_id")
    title_property = "job_id"
    in_live_state = False

    event_id: UUID = prop("The event that it gave way for", filterable=True)
    job_id: str = prop("The workload that gave way", filterable=True)
    unit_id: str = prop("The unit that sold what it freed", filterable=True)
    from_dc_id: str = prop("The data centre it left", filterable=True)
    from_starts_at: Moment = prop("When it would have begun there", "UTC")
    to_dc_id: str = prop("The data centre it went to", filterable=True)
    to_starts_at: Moment = prop("When it begins there", "UTC")
    it_power_kw: float = prop("IT power it draws", "kW")
    keep_gbp: float = prop("J of staying", "GBP")
    delta_gbp: float = prop("What its moving cost in J", "GBP")
    freed_mwh: Document = prop("Site energy that it freed, by half-hour of the event", "MWh")


OBJECT_TYPES: dict[str, type[ObjectType]] = {
    object_type.__name__: object_type
    for object_type in (
        Operator,
        Region,
        GridSignal,
        RegionalGridSignal,
        GenerationMix,
        SystemPrice,
        DataCentre,
        ComputeWorkload,
        CapacityBooking,
        WorkloadRun,
        MeterReading,
        Agent,
        AgentState,
        OrchestrationDecision,
        StorageAsset,
        FlexibilityUnit,
        FlexibilityEvent,
        FlexibilityMove,
    )
}


LIVE_TYPES = [name for name, object_type in OBJECT_TYPES.items() if object_type.in_live_state]
"""The types of the live state."""


@dataclass(frozen=True)
class LinkType:
    """A kind of link: from a `source` object, by the columns that hold its target's key."""

    rel: str
    source: type[ObjectType]
    columns: tuple[str, ...]
    target: type[ObjectType]
    meaning: str

    def target_id(self, source: ObjectType) -> str | None:
        """The id of the object `source` is linked to, or None where it is not linked."""
        values = [getattr(source, column) for column in self.columns]
        return None if None in values else KEY_SEPARATOR.join(map(_key_text, values))


LINK_TYPES: tuple[LinkType, ...] = (
    LinkType("OPERATED_BY", DataCentre, ("operator",), Operator, "the company that runs it"),
    LinkType("OPERATED_BY", StorageAsset, ("operator",), Operator, "the company that runs it"),
    LinkType("OPERATED_BY", Agent, ("operator",), Operator, "the company that runs it"),
    LinkType("OWNED_BY", ComputeWorkload, ("operator",), Operator, "the company whose job it is"),
    LinkType("LOCATED_IN", DataCentre, ("region_id",), Region, "the grid region it draws from"),
    LinkType("LOCATED_IN", StorageAsset, ("region_id",), Region, "the grid region it is connected in"),
    LinkType("HOSTED_BY", ComputeWorkload, ("host_dc_id",), DataCentre, "where it runs"),
    LinkType("BOOKED_FOR", CapacityBooking, ("job_id",), ComputeWorkload, "the workload whose power it is"),
    LinkType("BOOKED_AT", CapacityBooking, ("dc_id",), DataCentre, "the data centre whose power it holds"),
    LinkType("RUN_OF", WorkloadRun, ("job_id",), ComputeWorkload, "the workload that ran"),
    LinkType("RAN_AT", WorkloadRun, ("dc_id",), DataCentre, "the data centre it ran in"),
    LinkType("RAN_BY", WorkloadRun, ("booking_key",), CapacityBooking, "the booking that held its power"),
    LinkType("METERS", MeterReading, ("job_id",), ComputeWorkload, "the workload that used it"),
    LinkType("METERED_AT", MeterReading, ("dc_id",), DataCentre, "the data centre it was used in"),
    LinkType("MEASURED_IN", RegionalGridSignal, ("region_id",), Region, "the region it is about"),
    LinkType("PRICE_OF", SystemPrice, ("half_hour",), GridSignal, "the half-hour it is the imbalance price of"),
    LinkType("MIX_OF", GenerationMix, ("national_timestamp",), GridSignal, "the half-hour it is a share of"),
    LinkType(
        "MIX_OF",
        GenerationMix,
        ("region_id", "timestamp"),
        RegionalGridSignal,
        "the half-hour it is a share of",
    ),
    LinkType("STATE_OF", AgentState, ("agent_id",), Agent, "the agent it describes"),
    LinkType("DECIDED_BY", OrchestrationDecision, ("agent_id",), Agent, "the agent that decided"),
    LinkType("DECIDES", OrchestrationDecision, ("job_id",), ComputeWorkload, "the workload it is about"),
    LinkType("CHOSE", OrchestrationDecision, ("chosen_dc_id",), DataCentre, "the data centre it chose"),
    LinkType("LOCATED_IN", FlexibilityUnit, ("region_id",), Region, "where its data centres and batteries are"),
    LinkType("HELD_FOR", CapacityBooking, ("flexibility_event_id",), FlexibilityEvent, "what keeps its power free"),
    LinkType("GAVE_WAY_FOR", FlexibilityMove, ("event_id",), FlexibilityEvent, "the event that it was for"),
    LinkType("MOVED", FlexibilityMove, ("job_id",), ComputeWorkload, "the workload that gave way"),
    LinkType("SOLD_BY", FlexibilityMove, ("unit_id",), FlexibilityUnit, "the unit that sold what it freed"),
    LinkType("MOVED_FROM", FlexibilityMove, ("from_dc_id",), DataCentre, "the data centre it left"),
    LinkType("MOVED_TO", FlexibilityMove, ("to_dc_id",), DataCentre, "the data centre it went to"),
)


def links_of(object_type: type[ObjectType]) -> list[LinkType]:
    """The link types that begin or end at this object type."""
    return [link for link in LINK_TYPES if object_type in (link.source, link.target)]


def parse_key(object_type: type[ObjectType], object_id: str) -> dict[str, Any]:
    """The key columns of the object with this id.

    Raises:
        ValueError: the text cannot be an id of this type.
    """
    parts = object_id.split(KEY_SEPARATOR)
    if len(parts) != len(object_type.key):
        raise ValueError(f"an id of {object_type.__name__} has {len(object_type.key)} parts joined by ~")
    return {name: parse_property(object_type, name, text) for name, text in zip(object_type.key, parts, strict=True)}


def parse_property(object_type: type[ObjectType], name: str, text: str) -> Any:
    """The value of a property as its text in a URL says it.

    Raises:
        ValueError: the text is not of the property's type.
    """
    accepted = get_type_hints(object_type, include_extras=True)[name]
    if Moment in (accepted, *get_args(accepted)) and "T" not in text and text != "null":
        raise ValueError(f"{name} is a time: write it as 2026-11-22T08:00:00Z")
    value = TypeAdapter(accepted).validate_python(_unwrapped(accepted, text))
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**63:
        raise ValueError(f"{name} is out of range")
    if isinstance(value, str) and "\x00" in value:
        raise ValueError(f"{name} contains the character NUL, which cannot be stored")
    return value


def _unwrapped(annotation: Any, text: str) -> Any:
    # "null" in a URL means a missing value, for the properties that can be missing.
    return None if text == "null" and type(None) in get_args(annotation) else text


def _key_text(value: Any) -> str:
    return _time_text(value) if isinstance(value, datetime) else str(value)


# The live state names the same 96 half-hours again for every region.
_time_text = lru_cache(maxsize=1024)(rfc3339)
