"""An outside agent's part of a negotiation as a task of A2A 1.0, and what a message to it says.

The context is the negotiation, the task one agent's part of it. All that is negotiated stands in `data` parts: JSON
with the same words as over REST. Where A2A's own SDK writes it, every number is a float (round 1 is 1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from negotiation.coordination import MOST_ROUNDS
from negotiation.model import (
    LONGEST_REASON,
    AgentName,
    AgentPart,
    AgentState,
    Confirmation,
    Fallback,
    Leaving,
    NegotiationState,
    OfferedPlan,
    Performative,
    Proposal,
)

JSON = "application/json"

_ENDED = {
    NegotiationState.CONFIRMED: "TASK_STATE_COMPLETED",
    NegotiationState.SETTLED: "TASK_STATE_COMPLETED",
    NegotiationState.FALLBACK: "TASK_STATE_REJECTED",
    NegotiationState.EXPIRED: "TASK_STATE_FAILED",
    NegotiationState.CANCELLED: "TASK_STATE_CANCELED",
}
TASK_STATES = frozenset(
    {*_ENDED.values(), "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_WORKING", "TASK_STATE_UNSPECIFIED"}
    | {"TASK_STATE_SUBMITTED", "TASK_STATE_AUTH_REQUIRED"}
)


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SaidPropose(_Said):
    """Of round 0 the one plan that the agent would do alone; of another, a plan for each vector of prices."""

    performative: Literal["propose"]
    round: int = Field(ge=0, le=MOST_ROUNDS)
    plans: list[OfferedPlan] = Field(min_length=1, max_length=20)


class SaidConfirm(_Said):
    performative: Literal["confirm"]
    award_id: UUID


class SaidRefuse(_Said):
    performative: Literal["refuse"]
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] = ""


_AGENT: TypeAdapter[str] = TypeAdapter(AgentName)
_SAID: TypeAdapter[SaidPropose | SaidConfirm | SaidRefuse] = TypeAdapter(
    Annotated[SaidPropose | SaidConfirm | SaidRefuse, Field(discriminator="performative")]
)


def task_id_of(part: AgentPart) -> str:
    return f"{part.negotiation_id}:{part.agent}"


def read_task_id(task_id: str) -> tuple[UUID, str] | None:
    """The negotiation and the agent; None where it is no id of ours."""
    negotiation, _, agent = task_id.partition(":")
    try:
        return UUID(negotiation), _AGENT.validate_python(agent)
    except ValueError:
        return None


def message_of(message_id: str, data: Mapping[str, Any]) -> Fallback | Proposal | Confirmation | Leaving:
    """
    Raises:
        ValidationError: it is none that an agent may say.
    """
    said = _SAID.validate_python(data)
    if isinstance(said, SaidConfirm):
        return Confirmation(message_id=message_id, award_id=said.award_id)
    if isinstance(said, SaidRefuse):
        return Leaving(message_id=message_id, reason=said.reason)
    if said.round == 0 and len(said.plans) == 1:
        return Fallback(message_id=message_id, plan=said.plans[0])
    return Proposal(message_id=message_id, round=said.round, plans=said.plans)


def task_state(part: AgentPart) -> str:
    """Its state in A2A's words."""
    if part.state is AgentState.LEFT:
        return "TASK_STATE_CANCELED"
    if part.state is AgentState.BREACHED:
        return "TASK_STATE_FAILED"
    ended = _ENDED.get(part.negotiation_state)
    if ended is not None:
        return ended
    return "TASK_STATE_INPUT_REQUIRED" if _wanted(part) else "TASK_STATE_WORKING"


def task_of(part: AgentPart, *, with_artifacts: bool = True) -> dict[str, Any]:
    """The task, with what is wanted of the agent in its status, and the award as an artifact once there is one."""
    status: dict[str, Any] = {"state": task_state(part)}
    told = _told(part)
    if told is not None:
        status["message"] = {
            "messageId": f"{task_id_of(part)}:{part.negotiation_state}:{told.get('round', told.get('award_id', ''))}",
            "contextId": str(part.negotiation_id),
            "taskId": task_id_of(part),
            "role": "ROLE_AGENT",
            "parts": [_part(told)],
        }
    task: dict[str, Any] = {"id": task_id_of(part), "contextId": str(part.negotiation_id), "status": status}
    if with_artifacts and part.award is not None and status["state"] == "TASK_STATE_COMPLETED":
        award = part.award.model_dump(mode="json")
        task["artifacts"] = [{"artifactId": str(part.award.award_id), "name": "award", "parts": [_part(award)]}]
    return task


def _wanted(part: AgentPart) -> bool:
    if part.answered:
        return False
    return part.call is not None or (part.award is not None and part.award.confirm_by is not None)


def _told(part: AgentPart) -> dict[str, Any] | None:
    """What the coordinator says to the agent: a call, the award to be confirmed, or why it has ended."""
    if part.negotiation_state is NegotiationState.FALLBACK:
        return {"performative": str(Performative.REJECT), "reason": part.negotiation_reason or ""}
    if part.negotiation_state in {NegotiationState.EXPIRED, NegotiationState.CANCELLED}:
        return {"performative": str(Performative.FAILURE), "reason": part.negotiation_reason or ""}
    if not _wanted(part):
        return None
    if part.call is not None:
        return {"performative": str(Performative.CFP), **part.call.model_dump(mode="json")}
    award = part.award.model_dump(mode="json") if part.award is not None else {}
    return {"performative": str(Performative.ACCEPT), **award}


def _part(data: dict[str, Any]) -> dict[str, Any]:
    return {"data": data, "mediaType": JSON}
