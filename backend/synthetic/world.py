"""The invented compute world: data centres, their operators, batteries, the pipeline's agent, and
workloads.

The fields of each record are the columns of its table. Nothing is drawn from the clock or from chance: the
time and a seed are arguments, the same arguments give the same world, and every record says `is_synthetic`.
Each thing is drawn by its own number, so a longer list begins with the shorter one.

The grid's invented and modelled figures are in `synthetic.carbon` and `grid.model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil, cos, exp, log, pi
from random import Random
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from grid.half_hours import HALF_HOUR, LONDON, as_utc, half_hour_of
from hardware import GPU_IT_POWER_KW
from synthetic.noise import seeded_random, smooth_noise, smooth_step
from synthetic.sites import BATTERY_SITES, COMPANIES, DATA_CENTRE_SITES, PLATFORM, REGION_SHORT_NAMES, Site
from vocabulary import DataCentreStatus, Urgency, WorkloadStatus, WorkloadType
from workloads.model import Workload

# One accelerator of the NVIDIA H100 SXM kind: 989 dense BF16 teraflops by its data sheet.
GPU_TERAFLOPS = 989

HIGHEST_LOAD_PERCENTAGE = 97.0

_Choice = TypeVar("_Choice")

# What caps and budgets are drawn around: an ordinary PUE and an ordinary wholesale price.
_ORDINARY_PUE = 1.2
_ORDINARY_PRICE_GBP_PER_KWH = 0.085
# Deadlines leave room for a start late in the half-hour and for a job that takes longer than planned.
_DEADLINE_MARGIN = timedelta(minutes=60)
_DURATION_ALLOWANCE = 1.25


class _SyntheticRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    is_synthetic: Literal[True] = True


class SyntheticOperator(_SyntheticRecord):
    """A row of `operators`."""

    operator_id: str
    name: str
    operator_type: str


class SyntheticDataCentre(_SyntheticRecord):
    """A row of `data_centres`. `total_capacity_mw` is IT power, before PUE."""

    dc_id: str
    name: str
    operator: str
    region_id: int
    location_region: str
    latitude: float
    longitude: float
    pue: float
    total_capacity_teraflops: float
    total_capacity_mw: float
    current_load_percentage: float
    flexibility_rating: float
    min_load_percentage: float
    ramp_rate_mw_per_min: float
    status: DataCentreStatus


class SyntheticStorageAsset(_SyntheticRecord):
    """A row of `storage_assets`. `round_trip_efficiency` is a share from 0 to 1."""

    asset_id: str
    name: str
    operator: str
    region_id: int
    asset_type: Literal["BATTERY"] = "BATTERY"
    capacity_mwh: float
    power_mw: float
    state_of_charge_percentage: float
    round_trip_efficiency: float
    status: Literal["ACTIVE"] = "ACTIVE"


class SyntheticAgent(_SyntheticRecord):
    """A row of `agents`."""

    agent_id: str
    name: str
    agent_type: str
    operator: str
    version: str


class SyntheticWorkload(Workload, _SyntheticRecord):
    """A row of `compute_workloads`.

    `estimated_energy_kwh` is IT energy, before PUE; `carbon_cap_gco2` caps the intensity [gCO2/kWh];
    `max_price_gbp` the cost of the whole job.
    """

    deferral_window_mins: int
    status: Literal[WorkloadStatus.PENDING] = WorkloadStatus.PENDING


class WorkloadProfile(NamedTuple):
    """What workloads of one type ask for. `gpus` run together: a job lasts its GPU-minutes over them."""

    weight: int
    gpu_mins: tuple[int, int]
    gpus: int
    cpu_cores: tuple[int, ...]
    memory_gb_per_core: int
    urgency_weights: Mapping[Urgency, int]


def _urgencies(low: int, medium: int, high: int, critical: int) -> Mapping[Urgency, int]:
    return {Urgency.LOW: low, Urgency.MEDIUM: medium, Urgency.HIGH: high, Urgency.CRITICAL: critical}


WORKLOAD_PROFILES: Mapping[WorkloadType, WorkloadProfile] = {
    WorkloadType.TRAINING_RUN: WorkloadProfile(20, (1_200, 12_000), 8, (32, 64, 96), 8, _urgencies(50, 35, 12, 3)),
    WorkloadType.FINE_TUNING: WorkloadProfile(18, (240, 2_880), 8, (16, 32, 64), 8, _urgencies(35, 40, 20, 5)),
    WorkloadType.INFERENCE_BATCH: WorkloadProfile(22, (60, 960), 4, (8, 16, 32), 4, _urgencies(20, 40, 30, 10)),
    WorkloadType.RAG_QUERY: WorkloadProfile(15, (2, 30), 1, (4, 8), 4, _urgencies(5, 20, 45, 30)),
    WorkloadType.DATA_PROCESSING: WorkloadProfile(17, (30, 480), 2, (16, 32, 64), 4, _urgencies(40, 40, 15, 5)),
    WorkloadType.OTHER: WorkloadProfile(8, (30, 720), 2, (4, 8, 16), 4, _urgencies(30, 40, 20, 10)),
}

# How long a start may wait, in minutes.
DEFERRAL_WINDOWS_MINS: Mapping[Urgency, tuple[int, ...]] = {
    Urgency.LOW: (360, 720, 1_080, 1_440),
    Urgency.MEDIUM: (120, 240, 360, 720),
    Urgency.HIGH: (30, 60, 120),
    Urgency.CRITICAL: (0,),
}


def operators() -> list[SyntheticOperator]:
    """The invented companies that own the data centres and batteries and submit the workloads."""
    return [
        SyntheticOperator(operator_id=c.operator_id, name=c.name, operator_type=c.operator_type) for c in COMPANIES
    ]


def pipeline_agent(version: str) -> SyntheticAgent:
    """The agent that stands for the data pipeline, in the name of an invented operator."""
    return SyntheticAgent(
        agent_id="AGENT-PIPELINE",
        name="Grid data pipeline",
        agent_type="DATA_PIPELINE",
        operator=PLATFORM.operator_id,
        version=version,
    )


def data_centres(count: int = 8, *, at: datetime, seed: int) -> list[SyntheticDataCentre]:
    """Data centres DC-001, DC-002, …, as loaded at the moment `at`.

    Only the load depends on `at`. The first eight are ACTIVE.
    """
    return [_data_centre(index, at, seed) for index in range(count)]


def storage_assets(count: int = 4, *, at: datetime, seed: int) -> list[SyntheticStorageAsset]:
    """Batteries SA-001, SA-002, …, as charged at the moment `at`: fullest at 07:00, emptiest at 19:00."""
    return [_battery(index, at, seed) for index in range(count)]


def workloads(
    count: int, *, slot: datetime, seed: int, data_centre_ids: Sequence[str], operator_ids: Sequence[str]
) -> list[SyntheticWorkload]:
    """The workloads submitted in the half-hour that contains `slot`: SYN-20261122T0800Z-1, -2, ….

    `data_centre_ids` are the homes and `operator_ids` the owners to draw from; where there are none, the
    workloads have none.
    """
    start = half_hour_of(slot)
    return [_workload(number, start, seed, data_centre_ids, operator_ids) for number in range(1, count + 1)]


def _data_centre(index: int, at: datetime, seed: int) -> SyntheticDataCentre:
    site, name = _site(DATA_CENTRE_SITES, index, "data centre")
    dc_id = f"DC-{index + 1:03d}"
    chance = seeded_random(seed, "data centre", dc_id)
    capacity_mw = round(chance.uniform(8, 80), 1)
    share_for_gpus = chance.uniform(0.2, 0.6)
    min_load = round(chance.uniform(10, 30), 1)
    return SyntheticDataCentre(
        dc_id=dc_id,
        name=name,
        operator=site.operator_id,
        region_id=site.region_id,
        location_region=REGION_SHORT_NAMES[site.region_id],
        latitude=site.latitude,
        longitude=site.longitude,
        pue=round(chance.uniform(1.08, 1.45), 2),
        total_capacity_teraflops=round(capacity_mw * 1000 * share_for_gpus / GPU_IT_POWER_KW) * GPU_TERAFLOPS,
        total_capacity_mw=capacity_mw,
        flexibility_rating=round(chance.uniform(0.2, 0.95), 2),
        min_load_percentage=min_load,
        ramp_rate_mw_per_min=round(capacity_mw * chance.uniform(0.02, 0.06), 2),
        status=_status(index, chance),
        current_load_percentage=_load_percentage(dc_id, min_load, at, seed),
    )


def _site(sites: Sequence[Site], index: int, kind: str) -> tuple[Site, str]:
    """The site of a number and a name for it; once every town has one, they get a second a little way off."""
    site, lap = sites[index % len(sites)], index // len(sites)
    company = next(company for company in COMPANIES if company.operator_id == site.operator_id)
    if lap == 0:
        return site, f"{site.town} {kind}, {company.name}"
    nearby = seeded_random("site", kind, index)
    moved = site._replace(
        latitude=round(site.latitude + nearby.uniform(-0.02, 0.02), 2),
        longitude=round(site.longitude + nearby.uniform(-0.02, 0.02), 2),
    )
    return moved, f"{site.town} {kind} {lap + 1}, {company.name}"


def _status(index: int, chance: Random) -> DataCentreStatus:
    drawn = chance.random()
    if index < 8 or drawn < 0.92:
        return DataCentreStatus.ACTIVE
    return DataCentreStatus.MAINTENANCE if drawn < 0.97 else DataCentreStatus.CONSTRAINED


def _load_percentage(dc_id: str, min_load: float, at: datetime, seed: int) -> float:
    """Load at a moment: a base, a daily wave by the London clock, a quieter weekend and a slow drift."""
    chance = seeded_random(seed, "load", dc_id)
    base, wave = chance.uniform(45, 70), chance.uniform(4, 16)
    peak_hour, weekend_dip = chance.uniform(12, 19), chance.uniform(5, 12)
    local = as_utc(at).astimezone(LONDON)
    hour = local.hour + local.minute / 60 + local.second / 3600
    load = (
        base
        + wave * cos(2 * pi * (hour - peak_hour) / 24)
        - weekend_dip * _weekendness(24 * local.weekday() + hour)
        + 4 * smooth_noise(at, timedelta(hours=6), seed, "load", dc_id)
    )
    return round(min(max(load, min_load), HIGHEST_LOAD_PERCENTAGE), 1)


def _weekendness(hour_of_week: float) -> float:
    """1 from Saturday 06:00 to Sunday 18:00, 0 from Monday 06:00 to Friday 18:00, easing in between."""
    begun = smooth_step((hour_of_week - 114) / 12)
    over = smooth_step((hour_of_week - 162) / 12)
    last_weekend = 1 - smooth_step((hour_of_week + 6) / 12)
    return begun - over + last_weekend


def _battery(index: int, at: datetime, seed: int) -> SyntheticStorageAsset:
    site, name = _site(BATTERY_SITES, index, "battery")
    asset_id = f"SA-{index + 1:03d}"
    chance = seeded_random(seed, "battery", asset_id)
    power_mw = round(chance.uniform(10, 100), 1)
    local = as_utc(at).astimezone(LONDON)
    wave = cos(2 * pi * (local.hour + local.minute / 60 - 7) / 24)
    drift = smooth_noise(at, timedelta(hours=6), seed, "charge", asset_id)
    return SyntheticStorageAsset(
        asset_id=asset_id,
        name=name,
        operator=site.operator_id,
        region_id=site.region_id,
        capacity_mwh=round(power_mw * chance.choice((1, 2, 4)), 1),
        power_mw=power_mw,
        state_of_charge_percentage=round(50 + 36 * wave + 8 * drift, 1),
        round_trip_efficiency=round(chance.uniform(0.84, 0.90), 3),
    )


def _workload(
    number: int, slot: datetime, seed: int, data_centre_ids: Sequence[str], operator_ids: Sequence[str]
) -> SyntheticWorkload:
    job_id = f"SYN-{slot:%Y%m%dT%H%MZ}-{number}"
    chance = seeded_random(seed, "workload", job_id)
    workload_type = _weighted_choice(chance, {kind: profile.weight for kind, profile in WORKLOAD_PROFILES.items()})
    profile = WORKLOAD_PROFILES[workload_type]
    urgency = _weighted_choice(chance, profile.urgency_weights)
    gpu_mins = _log_uniform(chance, *profile.gpu_mins)
    cpu_cores = chance.choice(profile.cpu_cores)
    energy_kwh = gpu_mins / 60 * GPU_IT_POWER_KW * chance.uniform(0.9, 1.1)
    deferral_window_mins = chance.choice(DEFERRAL_WINDOWS_MINS[urgency])
    return SyntheticWorkload(
        job_id=job_id,
        workload_type=workload_type,
        urgency=urgency,
        required_gpu_mins=gpu_mins,
        required_cpu_cores=cpu_cores,
        required_memory_gb=cpu_cores * profile.memory_gb_per_core,
        max_price_gbp=_max_price_gbp(chance, energy_kwh),
        carbon_cap_gco2=_carbon_cap_gco2(chance, urgency),
        estimated_energy_kwh=round(energy_kwh, 4) if chance.random() < 0.7 else None,
        deferral_window_mins=deferral_window_mins,
        deadline=_deadline(slot, deferral_window_mins, minutes=gpu_mins / profile.gpus),
        # Drawn last, so that who there is to choose from changes nothing else.
        operator=chance.choice(operator_ids) if operator_ids else None,
        host_dc_id=chance.choice(data_centre_ids) if data_centre_ids else None,
    )


def _max_price_gbp(chance: Random, energy_kwh: float) -> float | None:
    """No budget for two jobs in five, else 1.5 to 4 times the ordinary cost; 1 in 20 gets hardly enough."""
    drawn, headroom = chance.random(), chance.uniform(1.5, 4)
    if drawn < 0.4:
        return None
    if drawn > 0.95:
        headroom = chance.uniform(0.7, 1.1)
    return ceil(100 * energy_kwh * _ORDINARY_PUE * _ORDINARY_PRICE_GBP_PER_KWH * headroom) / 100


def _carbon_cap_gco2(chance: Random, urgency: Urgency) -> int | None:
    """A cap for one job in two, and for one critical job in ten; seldom below 100 gCO2/kWh."""
    capped = chance.random() < (0.1 if urgency is Urgency.CRITICAL else 0.5)
    cap = chance.choice((75, 100, 150, 150, 200, 200, 250, 250, 300, 300, 350, 400))
    return cap if capped else None


def _deadline(slot: datetime, deferral_window_mins: int, minutes: float) -> datetime:
    """The half-hour by which even the latest start, running a quarter longer than planned, is over."""
    latest_end = slot + timedelta(minutes=deferral_window_mins + _DURATION_ALLOWANCE * minutes) + _DEADLINE_MARGIN
    return half_hour_of(latest_end) + HALF_HOUR


def _weighted_choice(chance: Random, weights: Mapping[_Choice, int]) -> _Choice:
    return chance.choices(list(weights), list(weights.values()))[0]


def _log_uniform(chance: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, small ones as likely per doubling as large ones."""
    return round(exp(chance.uniform(log(low), log(high))))
