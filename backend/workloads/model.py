"""The one declaration of a workload's fields; the columns of `compute_workloads` bear the same names.

Where a model needs the same fields in a shape of its own (its limits, its descriptions, null or not), it inherits
from here and `workloads.reshaping` makes the shape from what is said here of each field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from grid.half_hours import as_utc
from vocabulary import Urgency, WorkloadType

UtcDatetime = Annotated[AwareDatetime, AfterValidator(as_utc)]
Amount = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class About:
    """What a field means, and in which unit it is."""

    meaning: str
    unit: str | None = None


@dataclass(frozen=True)
class AmountOf(About):
    """A field that is an amount, from 0 up."""

    whole: bool = False
    most_submitted: float = 1e9
    """The most that the API takes of it."""
    most_stored: float = 1e12
    """The most that the table takes of it."""
    asked_as: str | None = None
    """The meaning as the API asks for it, where it is not the meaning and the unit."""

    @property
    def number(self) -> type[int] | type[float]:
        return int if self.whole else float

    @property
    def question(self) -> str:
        return self.asked_as or f"{self.meaning}, {self.unit}"


class JobName(BaseModel):
    model_config = ConfigDict(frozen=True)

    job_id: str


class JobOwner(BaseModel):
    """Who owns a job, and the data centre it is at."""

    model_config = ConfigDict(frozen=True)

    operator: str | None = None
    host_dc_id: str | None = None


class WorkloadNeeds(BaseModel):
    """What a job needs, by when, and at which cost."""

    model_config = ConfigDict(frozen=True)

    workload_type: Annotated[WorkloadType, About("What kind of compute it is")]
    urgency: Annotated[Urgency, About("How much waiting costs; CRITICAL starts at once")] = Urgency.MEDIUM
    required_gpu_mins: Annotated[
        Amount | None, AmountOf("GPU time it takes", "GPU-minutes", asked_as="GPU-minutes it takes")
    ] = None
    required_cpu_cores: Annotated[
        Annotated[int, Field(ge=0)] | None,
        AmountOf(
            "CPU cores it takes",
            "cores",
            whole=True,
            most_submitted=1_000_000,
            most_stored=10**9,
            asked_as="CPU cores it takes",
        ),
    ] = None
    required_memory_gb: Annotated[Amount | None, AmountOf("Memory it takes", "GB", most_submitted=1e7)] = None
    estimated_energy_kwh: Annotated[Amount | None, AmountOf("IT energy it takes", "kWh")] = None
    carbon_cap_gco2: Annotated[
        Amount | None, AmountOf("Highest carbon intensity it may run at", "gCO2/kWh", most_submitted=10_000)
    ] = None
    max_price_gbp: Annotated[Amount | None, AmountOf("Most the whole job may cost", "GBP")] = None
    deadline: Annotated[UtcDatetime | None, About("When it must have finished", "UTC")] = None
    deferral_window_mins: Annotated[
        Amount | None,
        AmountOf("How long its start may wait", "minutes", whole=True, most_submitted=525_600, most_stored=525_600),
    ] = None


class Workload(WorkloadNeeds, JobOwner, JobName):
    """A job with its owner and its needs."""
