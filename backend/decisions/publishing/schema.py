"""The published output: what agents, provider platforms and operators read of a decision.

The reference's schema, kept exactly, with additions that a reader of the reference may ignore. OpenAPI is
generated from these models. They take what the scorer found by its attributes. Energies are site energies
unless a name says `it_`; times are UTC; unknown is null, never zero.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vocabulary import CarbonIndex, Policy, StrEnum, Urgency, WorkloadStatus, WorkloadType

Score = Annotated[float, Field(ge=0, le=100)]


def tidy(value: float) -> float:
    """A computed figure to twelve significant digits, which is its accuracy, without a negative zero."""
    return float("%.12g" % value) + 0.0  # noqa: UP031 - takes half the time of an f-string, a dozen times an option


Figure = Annotated[float, AfterValidator(tidy)]
"""A computed figure."""


class Scorer(StrEnum):
    """Who set `suitability_score`."""

    DETERMINISTIC = "deterministic"
    GEMINI = "gemini"


class _Published(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        from_attributes=True,
        validate_by_name=True,
        serialize_by_alias=True,
        protected_namespaces=(),
    )


class MixShares(_Published):
    """Generation mix of the region in the present half-hour, per cent."""

    wind_pct: float | None = Field(description="Wind, %.", examples=[31.2])
    solar_pct: float | None = Field(description="Solar, %.", examples=[4.0])
    gas_pct: float | None = Field(description="Gas, %.", examples=[40.1])
    nuclear_pct: float | None = Field(description="Nuclear, %.", examples=[12.5])
    other_pct: Figure | None = Field(
        description="Everything else: biomass, coal, hydro, imports and other, %.", examples=[12.2]
    )


class FigureSources(_Published):
    """Where each figure of the present half-hour comes from; null where it is not stated."""

    carbon_intensity: str | None = Field(
        default=None,
        description="`carbon_intensity_api`, `modelled` (our curve over real figures) or `synthetic` (invented).",
        examples=["carbon_intensity_api"],
    )
    grid_stress: str | None = Field(
        default=None,
        description="Source of the demand: `neso`, `elexon`, `modelled` or `synthetic`.",
        examples=["elexon"],
    )
    wholesale_price: str | None = Field(
        default=None,
        description="`elexon`, `modelled` or `synthetic`. No source publishes a price ahead of time: it is modelled.",
        examples=["modelled"],
    )
    generation_mix: str | None = Field(
        default=None, description="`carbon_intensity_api` or `synthetic`.", examples=["carbon_intensity_api"]
    )


class EnergyProfile(_Published):
    """The grid at the data centre in the present half-hour, as stored."""

    current_carbon_intensity_gco2: float | None = Field(
        description="Carbon intensity of the data centre's region, gCO2/kWh.", examples=[201]
    )
    regional_carbon_index: CarbonIndex | None = Field(
        description="The Carbon Intensity API's word for that intensity.", examples=["high"]
    )
    grid_stress_score: float | None = Field(description="National grid stress, 0 to 1.", examples=[0.41])
    wholesale_price_gbp_mwh: float | None = Field(
        description="National wholesale price, £/MWh; may be negative.", examples=[83.2]
    )
    generation_mix: MixShares
    # Outputs of before scorer 1.1.0 have none.
    sources: FigureSources = FigureSources()


class ComputeProfile(_Published):
    """The data centre, as stored."""

    pue: float = Field(description="Power usage effectiveness: site energy over IT energy.", examples=[1.2])
    total_capacity_teraflops: float = Field(description="Compute capacity, TFLOPS.", examples=[40000])
    current_load_percentage: float = Field(description="Present load, % of capacity.", examples=[62.5])
    flexibility_rating: float = Field(description="How readily it shifts load, 0 to 1.", examples=[0.6])
    available_for_task: bool = Field(
        description="Whether it is ACTIVE and has free capacity for the workload at a start that it may have.",
        examples=[True],
    )
    # Outputs of before scorer 1.2.0 have none.
    free_it_power_kw: Figure | None = Field(
        default=None,
        description="IT power that nobody is promised, at its least in the half-hours of the evaluated run, kW.",
        examples=[7500.0],
    )


class ConstraintViolation(_Published):
    """A hard constraint that stands in the way."""

    constraint: str = Field(
        description="`status`, `free_capacity`, `forecast_horizon`, `signal_missing`, `deadline`, "
        "`deferral_window`, `grid_stress`, `carbon_cap` or `max_price`.",
        examples=["carbon_cap"],
    )
    value: float | str | None = Field(description="The value found.", examples=[281])
    limit: float | str | None = Field(description="The value allowed.", examples=[150])
    unit: str | None = Field(
        description="Unit of value and limit: `MW`, `h`, `UTC`, `0-1`, `gCO2/kWh` or `GBP`.",
        examples=["gCO2/kWh"],
    )
    message: str = Field(
        description="The same in words.",
        examples=["carbon intensity reaches 281 gCO2/kWh, above its cap of 150"],
    )
    start: datetime | None = Field(
        description="The start it was found at; null where no start would help.",
        examples=["2026-11-22T08:04:11Z"],
    )
    # Outputs of before scorer 1.2.0 have none.
    room_from: datetime | None = Field(
        default=None,
        description="Of `free_capacity`: the next start at which there is room; null where there is none within the "
        "forecast.",
        examples=["2026-11-22T14:30:00Z"],
    )


class ScoreBreakdown(_Published):
    """The parts of J, weighted by the policy; their sum is `objective_gbp`."""

    energy_gbp: Figure = Field(description="Electricity at the wholesale price, £.", examples=[0.8897])
    carbon_gbp: Figure = Field(description="Carbon at the carbon price, £.", examples=[0.1069])
    grid_stress_gbp: Figure = Field(description="Declared adder for grid stress, £.", examples=[0.4677])
    delay_gbp: Figure = Field(description="Price of waiting until the start, £.", examples=[0.3465])


class RunFigures(_Published):
    """What a run would emit and cost: predictions from the forecast."""

    carbon_gco2: Figure = Field(description="Emissions, gCO2.", examples=[1069.6])
    cost_gbp: Figure = Field(description="Electricity at the wholesale price, £.", examples=[0.8897])


class Estimates(_Published):
    """The run now beside the recommended run, both at this data centre."""

    energy_kwh: Figure = Field(description="Site energy of the run: IT energy x PUE, kWh.", examples=[23.3])
    run_now: RunFigures | None = Field(description="Starting now; null where a signal of it is unknown.")
    recommended_start: datetime | None = Field(
        description="The best feasible start; null when there is none.", examples=["2026-11-22T15:00:00Z"]
    )
    recommended: RunFigures | None = Field(description="Starting then; null when there is no such start.")


class BindingConstraint(_Published):
    """The better run that hard constraints rule out."""

    dc_id: str = Field(description="Where it would run.", examples=["DC-007"])
    start: datetime = Field(description="When it would start.", examples=["2026-11-22T21:30:00Z"])
    objective_gbp: Figure = Field(description="Its J, £.", examples=[1.589])
    saving_gbp: Figure = Field(description="How much less that is than the answer's J, £.", examples=[0.222])
    violations: list[ConstraintViolation] = Field(description="What it breaks.")


class DataCentreOption(_Published):
    """One data centre's option for the workload."""

    dc_id: str = Field(description="Data centre.", examples=["DC-001"])
    name: str = Field(description="Its name.", examples=["Docklands One"])
    location_region: str = Field(description="Where it is.", examples=["London"])
    energy_profile: EnergyProfile
    compute_profile: ComputeProfile
    suitability_score: Score = Field(
        description="0 to 100, higher is better, 0 is infeasible. The model's where it judged the option.",
        examples=[81.25],
    )
    deterministic_score: Score = Field(
        description="The scorer's own score: strictly falls as J rises, independent of the other options.",
        examples=[81.25],
    )
    scores_disagree: bool = Field(
        description="Whether the two scores are more than 25 points apart.", examples=[False]
    )
    rationale: str = Field(
        description="Why, in a sentence.",
        examples=["Start now for £0.62 and 1.9 kg of CO2 (9.4 kWh at 201 gCO2/kWh)."],
    )
    constraint_violations: list[ConstraintViolation] = Field(
        description="What makes it infeasible, at the start that breaks least; empty when feasible."
    )
    objective_gbp: Figure | None = Field(
        description="J at `evaluated_start`, £; null when the forecast does not cover any run.",
        examples=[1.811],
    )
    score_breakdown: ScoreBreakdown | None
    evaluated_start: datetime | None = Field(
        description="The start that J and its parts are for: the recommended one or, when infeasible, the one that "
        "breaks least.",
        examples=["2026-11-22T15:00:00Z"],
    )
    displaced_gbp: Figure | None = Field(
        default=None,
        description="The price of the place: what other work would save by having the power that the run at "
        "`evaluated_start` takes, £. 0 where nobody competes for it, null where it is unknown; no part of J.",
        examples=[0.412],
    )
    estimates: Estimates
    binding_constraint: BindingConstraint | None = Field(
        description="The better run at this data centre that a constraint rules out; null when there is none."
    )


class PublishedTask(_Published):
    """The workload, as stored."""

    job_id: str = Field(description="Workload.", examples=["train-1"])
    workload_type: WorkloadType
    urgency: Urgency
    required_gpu_mins: float | None = Field(description="GPU-minutes.", examples=[1200])
    carbon_cap_gco2: float | None = Field(
        description="Highest carbon intensity it may run at, gCO2/kWh.", examples=[150]
    )
    max_price_gbp: float | None = Field(description="Most the whole job may cost, £.", examples=[40])
    deadline: datetime | None = Field(description="When it must have ended.", examples=["2026-11-23T08:00:00Z"])
    required_cpu_cores: int | None = Field(description="CPU cores.", examples=[16])
    required_memory_gb: float | None = Field(description="Memory, GB.", examples=[64])
    estimated_energy_kwh: float | None = Field(description="IT energy as its owner states it, kWh.")
    deferral_window_mins: float | None = Field(
        description="How long it may be deferred from its creation, minutes.", examples=[720]
    )
    operator: str | None = Field(description="Its owner.")
    host_dc_id: str | None = Field(description="The data centre it is already at.")


class WorkloadEstimate(_Published):
    """The workload as the grid sees it."""

    it_power_kw: Figure = Field(description="IT power while it runs, kW.", examples=[7.68])
    duration_minutes: Figure = Field(description="How long it runs, minutes.", examples=[150])
    it_energy_kwh: Figure = Field(description="IT energy, kWh.", examples=[19.2])
    basis: str = Field(
        description="`stated` by the workload, `modelled` from its requirements, or `assumed` because it "
        "states none.",
        examples=["modelled"],
    )


class RunnerUp(_Published):
    """The next best data centre."""

    dc_id: str = Field(description="Data centre.", examples=["DC-004"])
    start: datetime = Field(description="Its best start.", examples=["2026-11-22T15:00:00Z"])
    objective_gbp: Figure = Field(description="Its J, £.", examples=[1.93])
    margin_gbp: Figure = Field(description="How much more that is than the answer's J, £.", examples=[0.119])


class CarbonPriceSwitch(_Published):
    """A carbon price at which another place or start becomes the answer."""

    carbon_price_gbp_per_t: Figure = Field(description="£/tCO2.", examples=[278.6])
    dc_id: str = Field(description="The data centre of the other answer.", examples=["DC-001"])
    start: datetime = Field(description="Its start.", examples=["2026-11-22T14:30:00Z"])


class CarbonPriceSwitches(_Published):
    """The nearest such prices; null where no price on that side changes the answer."""

    above: CarbonPriceSwitch | None
    below: CarbonPriceSwitch | None


class Waiting(_Published):
    """What becomes of a workload that no data centre can take."""

    status: WorkloadStatus = Field(description="`DEFERRED_*`, `PENDING` or `FAILED`.", examples=["DEFERRED_CARBON"])
    reason: str = Field(description="Why, in a sentence.")


class CapacityPricesSource(_Published):
    """What the prices of capacity rest on that `displaced_gbp` is reckoned with."""

    source: str = Field(description="`joint_plan`.", examples=["joint_plan"])
    planned_at: datetime = Field(description="When the work was planned together.", examples=["2026-11-22T08:04:12Z"])
    workloads: int = Field(description="How many workloads were planned: what waits or has not begun.", examples=[41])
    left_out: int = Field(description="How many of them found no room.", examples=[0])
    method: str = Field(
        description="How the plan was found: `each_alone` (there is room for all, and every price is 0), `exact` or "
        "`search`.",
        examples=["exact"],
    )


class StressOpinion(_Published):
    """The second opinion on grid stress, from what is to spare: where it is above the one from demand, it counts."""

    source: str = Field(description="`elexon`.", examples=["elexon"])
    published_at: datetime | None = Field(
        description="When the oldest of its figures was published.", examples=["2026-11-22T08:00:00Z"]
    )
    known_half_hours: int = Field(description="Half-hours in which both are known.", examples=[24])
    higher_half_hours: int = Field(description="Half-hours in which it is the higher one.", examples=[3])


class SignalProvenance(_Published):
    """A signal the decision was made from."""

    signal: str = Field(description="`wholesale_price`, `grid_stress` or `carbon_intensity`.")
    region_id: int | None = Field(description="Region of a carbon intensity; null for national signals.")
    sources: dict[str, int] = Field(description="Half-hours by source.", examples=[{"elexon": 80, "neso": 16}])
    oldest_fetched_at: datetime | None = Field(
        description="When its oldest figure was fetched; of modelled ones, the figures they are modelled on. Null "
        "where all are invented."
    )
    age_minutes: Figure | None = Field(description="How old that is, minutes.", examples=[4.2])
    freshness: str = Field(
        description="`fresh`, `stale` (its real figures are more than two hours old), `invented` (none of it is "
        "real), `undated` or `missing`.",
        examples=["fresh"],
    )
    known_half_hours: int = Field(description="Known half-hours, from the present one on.", examples=[96])
    unknown_half_hours: int = Field(description="Unknown half-hours before the last known one.", examples=[0])


class DecisionSummary(_Published):
    """The answer and its explanation; the answer's own fields are null when the workload is not placed."""

    dc_id: str | None = Field(
        default=None, description="The chosen data centre: the first option.", examples=["DC-001"]
    )
    start: datetime | None = Field(
        default=None, description="When it starts there.", examples=["2026-11-22T15:00:00Z"]
    )
    end: datetime | None = Field(default=None, description="When it ends there.", examples=["2026-11-22T17:30:00Z"])
    objective_gbp: Figure | None = Field(default=None, description="J of the answer, £.", examples=[1.811])
    rationale: str = Field(description="The answer in a sentence.")
    workload: WorkloadEstimate
    latest_start: datetime | None = Field(
        description="The last start its deferral window allows; null without a window."
    )
    least_objective_dc_id: str | None = Field(
        default=None,
        description="The data centre with the least J. It differs from `dc_id` only where a model judged otherwise; "
        "the binding constraint and the carbon prices are then null.",
    )
    runner_up: RunnerUp | None = None
    binding_constraint: BindingConstraint | None = Field(
        default=None,
        description="The better run anywhere that a constraint rules out; null when there is none.",
    )
    carbon_price_switches: CarbonPriceSwitches | None = None
    waiting: Waiting | None = Field(default=None, description="Null when the workload is placed.")
    capacity_prices: CapacityPricesSource | None = Field(
        default=None, description="Where the options' `displaced_gbp` come from; null where no price is known."
    )
    grid_stress_opinion: StressOpinion | None = Field(
        default=None, description="The second opinion on grid stress; null where no source gives the margin."
    )
    signals: list[SignalProvenance]


class OutputMetadata(_Published):
    """Who decided, when, from what."""

    task_id: str = Field(description="The workload's job_id.", examples=["train-1"])
    generated_at: datetime = Field(description="When the output was made.", examples=["2026-11-22T08:04:12Z"])
    dc_count: int = Field(description="Number of options.", examples=[8])
    model: str | None = Field(description="The language model that judged; null without one.")
    context_id: str = Field(description="The stored decision context.")
    scorer: Scorer = Field(description="Who set the suitability scores.")
    fallback_reason: str | None = Field(
        description="Why the deterministic score was used although a model was to judge."
    )
    sequence: int | None = Field(
        description="Its number in the log of events, greater than those before it; null until it is published."
    )
    scorer_version: str = Field(description="Version of the deterministic scorer.", examples=["1.0.0"])
    policy: Policy = Field(description="The weights of the parts of J.", examples=["balanced"])
    carbon_price_gbp_per_t: float = Field(description="Carbon price, £/tCO2.", examples=[100])
    warnings: list[str] = Field(
        description="What a reader should know: signals that are invented, modelled, stale, undated or missing, and "
        "assumed energy.",
        examples=[["The wholesale price is stale: its oldest figure was fetched 3 h 10 min ago."]],
    )


class DecisionOutput(_Published):
    """One workload's published decision: the options, best first, and the task."""

    data_centre_options: list[DataCentreOption] = Field(description="One per data centre, best first.")
    task: PublishedTask
    decision: DecisionSummary
    metadata: OutputMetadata = Field(alias="_metadata")
