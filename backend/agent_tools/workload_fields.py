"""A workload as tools take it: the fields of `POST /api/v1/workloads`, from the one declaration of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from agent_tools.definitions import Asked, AskedTime, Key
from vocabulary import Urgency, WorkloadType
from workloads.model import About, AmountOf, Workload
from workloads.reshaping import reshaped


def absent(meaning: str | None = None) -> Any:
    """A value that may be left out, but not null."""
    return Field(None, description=meaning)


class RunAsked(Asked):
    template: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$", description="Of a registered runner")
    parameters: dict[str, Annotated[str, Field(max_length=1000)]] = Field(default_factory=dict, max_length=32)


def _as_asked(_field: FieldInfo, about: About) -> tuple[Any, Any] | None:
    if not isinstance(about, AmountOf):
        return None
    field = Field(None, ge=0, le=about.most_submitted, allow_inf_nan=False, strict=True, description=about.question)
    return about.number, field


@reshaped(_as_asked)
class WorkloadAsked(Workload, Asked):
    """A workload to be planned. Leave out what does not apply; null is refused."""

    workload_type: WorkloadType
    urgency: Urgency = Field(Urgency.MEDIUM, description="CRITICAL starts at once")
    job_id: Key = absent()
    operator: Key = absent()
    host_dc_id: Key = absent("Where it would run without us")
    deadline: AskedTime = absent("When it must have finished")

    def submission(self, *not_of_it: str) -> dict[str, Any]:
        """The body that the platform takes: what is set, but for members that are the tool's own."""
        return self.model_dump(mode="json", exclude_none=True, exclude=set(not_of_it), warnings=False)
