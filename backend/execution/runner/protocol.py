"""What a runner and the server say to each other: small JSON documents over HTTP, each with the server's time.

Every message about a run names its fence, the number of the lease that it was taken under: of what an older lease
still says, nothing is done. Every message may be repeated.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from grid.half_hours import is_half_hour
from vocabulary import StrEnum

LONGEST_POLL_S = 30
MOST_HALF_HOURS = 1000
MOST_TEMPLATES = 200
LONGEST_TAIL = 64 * 1024
LONGEST_REASON = 1000

Identity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fence = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Kilowatts = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False, strict=True)]
RunId = Annotated[int, Field(ge=1, le=2**63 - 1, strict=True)]
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2200, 1, 1, tzinfo=timezone.utc)


def _written_out(value: object) -> object:
    # Pydantic would also take a number of seconds since 1970, and a date.
    if isinstance(value, datetime) or (isinstance(value, str) and "T" in value.upper()):
        return value
    raise ValueError("write the time as text, such as 2026-11-22T18:00:00Z")


def _within_reach(moment: datetime) -> datetime:
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"write a time from {EARLIEST.year} to {LATEST.year - 1}")
    if not is_half_hour(moment):
        raise ValueError("is not the start of a half-hour")
    return moment


HalfHourStart = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_within_reach)]


class EnergySource(StrEnum):
    """Where a figure of energy comes from."""

    RAPL = "rapl"
    POWER_X_TIME = "power_x_time"


class Ended(StrEnum):
    """How a run ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    NOT_STARTED = "not_started"
    LOST = "lost"


class Standing(StrEnum):
    """What has become of a run, as the server knows it."""

    HELD = "held"
    """It is this runner's: go on."""
    CANCELLED = "cancelled"
    """It is still this runner's, who is to end it and report."""
    DEFERRED = "deferred"
    """It is not to begin now: let go of it."""
    FENCED = "fenced"
    """It is this runner's no longer."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    """Of a server that may be newer, and say more."""

    model_config = ConfigDict(frozen=True)

    now: AwareDatetime = Field(description="The server's time")


class OfferedParameter(_Message):
    """A parameter of a template: the regular expression that it must match, and whether it may be left out."""

    pattern: str = Field(max_length=LONGEST_REASON, description="A regular expression, matched from end to end")
    optional: bool = Field(strict=True, description="Whether the template has a value of its own for it")


class OfferedTemplate(_Message):
    """A command that a runner runs when it is asked for by name."""

    power_kw: Kilowatts
    longest_s: float = Field(gt=0, strict=True, allow_inf_nan=False, description="After so long it is ended, seconds")
    parameters: dict[ParameterName, OfferedParameter] = Field(max_length=32)


class Registration(_Message):
    """Who a runner is and what it can do. A runner registers at each start, and its earlier session ends."""

    runner_id: Identity
    dc_id: Identity = Field(description="The data centre it stands in")
    capacity_kw: Kilowatts = Field(description="What its machine may draw")
    templates: dict[TemplateName, OfferedTemplate] = Field(min_length=1, max_length=MOST_TEMPLATES)
    take_over: bool = Field(
        False, description="Whether a data centre that was simulated is run by runners from now on"
    )


class Registered(_Answer):
    session: str = Field(description="To be sent with each take")
    heartbeat_s: float = Field(description="A run is to be heard of at least so often, seconds")
    lost_after_s: float = Field(description="A run that nothing is heard of for so long is lost, seconds")


class Take(_Message):
    """Asks for due work, and waits for it."""

    session: Fence
    templates: list[TemplateName] = Field(max_length=MOST_TEMPLATES, description="Those there is power for now")
    holding: list[RunId] = Field(max_length=1000, description="The run_ids that it has already")
    wait_s: float = Field(
        LONGEST_POLL_S, strict=True, ge=0, le=LONGEST_POLL_S, description="How long to wait for work, seconds"
    )


class OfferedRun(BaseModel):
    """A run that is due."""

    model_config = ConfigDict(frozen=True)

    run_id: int
    fence: Fence
    job_id: str
    template: str
    parameters: dict[str, str]
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    it_power_kw: float


class Taken(_Answer):
    runs: list[OfferedRun] = Field(description="At most one, in this version")
    ask_again_s: float = Field(0.0, description="How long to wait before asking again, seconds")


class HalfHourEnergy(_Message):
    """The IT energy of a run in one half-hour, from its start up to now."""

    half_hour: HalfHourStart = Field(description="Its start, UTC")
    energy_kwh: float = Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)
    source: EnergySource


def _each_once(energy: list[HalfHourEnergy]) -> list[HalfHourEnergy]:
    if len({each.half_hour for each in energy}) < len(energy):
        raise ValueError("names a half-hour twice")
    return energy


Energy = Annotated[list[HalfHourEnergy], Field(max_length=MOST_HALF_HOURS), AfterValidator(_each_once)]


class Begin(_Message):
    """The last question before a command is started: is the run still this runner's, and may it start now?"""

    fence: Fence


class Heartbeat(_Message):
    """The run goes on."""

    fence: Fence
    energy: Energy = Field(description="Of the whole run so far")


class GiveBack(_Message):
    """This runner does not run it: nothing was started."""

    fence: Fence
    reason: str = Field(max_length=LONGEST_REASON)
    final: bool = Field(strict=True, description="Whether no runner of this data centre should be asked again")


class Finish(_Message):
    """The run has ended."""

    fence: Fence
    ended: Ended
    exit_status: int | None = Field(None, strict=True, ge=0, le=255)
    signal: int | None = Field(None, strict=True, ge=1, le=128)
    cause: str | None = Field(None, max_length=100, description="Why the runner ended it, if it did")
    reason: str | None = Field(None, max_length=LONGEST_REASON)
    output_tail: str = Field("", max_length=LONGEST_TAIL, description="The end of its output")
    output_bytes: int = Field(0, strict=True, ge=0, le=2**63 - 1, description="How long its output was")
    run_s: float = Field(
        0.0, strict=True, ge=0, allow_inf_nan=False, description="How long it ran, by a monotonic clock"
    )
    energy: Energy


class Told(_Answer):
    """What has become of a run."""

    standing: Standing
