"""What is declared for an agent that this program answers for: all that its answers follow from, as it is stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from negotiation.agents import (
    Agent,
    BookedJob,
    ComputeAgent,
    Figures,
    InterruptibleJob,
    ReductionBuyer,
    RigidJob,
    SearchTime,
    StorageAgent,
)


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeclaredJob(_Declared):
    """Interruptible work in the half-hours from `first` up to before `end`."""

    job_id: str
    energy_mwh: float
    max_power_mw: float
    first: int
    end: int


class DeclaredRigidJob(_Declared):
    """Work that may not pause: this power through so many half-hours in a row."""

    job_id: str
    power_mw: float
    half_hours: int
    first: int
    end: int


class DeclaredBookedJob(_Declared):
    """Work that holds power from the half-hour `booked` on, and may begin in others at these costs."""

    job_id: str
    booking_key: UUID
    booked: int
    power_mw: float
    half_hours: int
    starts: list[int]
    costs_gbp: list[float]


class DeclaredCompute(_Declared):
    """A data centre's work that waits, or that is booked and may move."""

    kind: Literal["compute"] = "compute"
    cost_gbp_per_mwh: list[float]
    jobs: list[DeclaredJob | DeclaredRigidJob | DeclaredBookedJob]


class DeclaredStorage(_Declared):
    """A battery."""

    kind: Literal["storage"] = "storage"
    cost_gbp_per_mwh: list[float]
    power_mw: float
    capacity_mwh: float
    charge_mwh: float
    round_trip_efficiency: float
    wear_gbp_per_mwh: float = 0.0


class DeclaredBuyer(_Declared):
    """Who pays for power that the others leave unused."""

    kind: Literal["buyer"] = "buyer"
    pays_gbp_per_mwh: list[float]
    need_mw: list[float]


Declared = Annotated[DeclaredCompute | DeclaredStorage | DeclaredBuyer, Field(discriminator="kind")]
_READER: TypeAdapter[DeclaredCompute | DeclaredStorage | DeclaredBuyer] = TypeAdapter(Declared)


def agent_of(
    name: str, endowment_mw: list[float], most_mw: list[float], declared: dict[str, Any], searches: SearchTime
) -> Agent:
    """Who answers for what was stored, searching within the time of all.

    Args:
        most_mw: what it may propose, which of booked work is what its data centre has for it.

    Raises:
        NoFallback: it cannot take part.
        pydantic.ValidationError: that is no declaration.
    """
    room_mw = most_mw if booked_jobs_of(declared) else None
    found = made_agent(name, endowment_mw, _READER.validate_python(declared), room_mw)
    found.searches = searches
    return found


def made_agent(
    name: str,
    endowment_mw: list[float],
    declared: DeclaredCompute | DeclaredStorage | DeclaredBuyer,
    room_mw: list[float] | None = None,
) -> Agent:
    """Who answers for what is declared.

    Raises:
        NoFallback: it cannot take part.
    """
    if isinstance(declared, DeclaredBuyer):
        return ReductionBuyer(name, _figures(declared.pays_gbp_per_mwh), _figures(declared.need_mw))
    endowment, cost = _figures(endowment_mw), _figures(declared.cost_gbp_per_mwh)
    if isinstance(declared, DeclaredCompute):
        room = None if room_mw is None else _figures(room_mw)
        return ComputeAgent(name, endowment, cost, [_job(job) for job in declared.jobs], room)
    return StorageAgent(
        name,
        endowment,
        cost,
        power_mw=declared.power_mw,
        capacity_mwh=declared.capacity_mwh,
        charge_mwh=declared.charge_mwh,
        round_trip_efficiency=declared.round_trip_efficiency,
        wear_gbp_per_mwh=declared.wear_gbp_per_mwh,
    )


def booked_jobs_of(declared: dict[str, Any]) -> list[DeclaredBookedJob]:
    """The work that holds power already, of an agent of which this was stored; in a stored form of any kind."""
    rows = declared.get("jobs", [])
    return [DeclaredBookedJob.model_validate(row) for row in rows if "booking_key" in row]


def _job(job: DeclaredJob | DeclaredRigidJob | DeclaredBookedJob) -> InterruptibleJob | RigidJob | BookedJob:
    if isinstance(job, DeclaredBookedJob):
        return BookedJob(job.job_id, job.power_mw, job.half_hours, tuple(job.starts), tuple(job.costs_gbp))
    if isinstance(job, DeclaredRigidJob):
        return RigidJob(**job.model_dump())
    return InterruptibleJob(**job.model_dump())


def _figures(values: list[float]) -> Figures:
    return np.array(values, dtype=float)
