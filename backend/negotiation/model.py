"""What a stored negotiation is: how it is opened, what is said in it, and how it is kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from grid.half_hours import HALF_HOUR
from negotiation.declared import Declared
from vocabulary import StrEnum
from workloads.model import UtcDatetime

LARGEST_MW = 10_000.0
LARGEST_COST_GBP = 1e9
LONGEST_REASON = 500
LONGEST_NEGOTIATION = timedelta(minutes=10)

MessageId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
AgentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Draw = Annotated[float, Field(ge=-LARGEST_MW, le=LARGEST_MW, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class NegotiationState(StrEnum):
    OPEN = "OPEN"
    """Every agent is asked what it would do alone."""
    ROUND = "ROUND"
    AWARDED = "AWARDED"
    """Power is held and payments are written; agents outside are to confirm."""
    CONFIRMED = "CONFIRMED"
    SETTLED = "SETTLED"
    """Its half-hours are over."""
    FALLBACK = "FALLBACK"
    """Nobody gained: all do what they would do alone."""
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"

    @property
    def keeps_awards(self) -> bool:
        """Whether what was awarded stands: not where all do what they would do alone after all."""
        return self not in {NegotiationState.FALLBACK, NegotiationState.EXPIRED}


class AgentState(StrEnum):
    INVITED = "INVITED"
    JOINED = "JOINED"
    PROPOSED = "PROPOSED"
    SILENT = "SILENT"
    """It did not answer the last round in time."""
    AWARDED = "AWARDED"
    CONFIRMED = "CONFIRMED"
    BREACHED = "BREACHED"
    """It did not confirm in time: it stands at its fallback."""
    LEFT = "LEFT"


class Kind(StrEnum):
    """Who answers for an agent: this program, or somebody outside."""

    COMPUTE = "compute"
    STORAGE = "storage"
    BUYER = "buyer"
    OUTSIDE = "outside"


class StartedBy(StrEnum):
    """Why a negotiation was opened."""

    HAND = "hand"
    REGION_LIMIT = "region_limit"
    FLEXIBILITY_NEED = "flexibility_need"
    CONTENTION = "contention"


class Performative(StrEnum):
    """FIPA's words for what is said."""

    CFP = "cfp"
    PROPOSE = "propose"
    REFUSE = "refuse"
    ACCEPT = "accept-proposal"
    REJECT = "reject-proposal"
    CONFIRM = "confirm"
    FAILURE = "failure"
    INFORM = "inform"


class NewAgent(_Frozen):
    """Who is to take part. One figure of each kind for each half-hour, MW.

    Attributes:
        tenant: whose agent it is; None: whoever opens the negotiation.
        dc_id: where its award holds power.
        endowment_mw: what it has of the limit without any negotiation.
        declared: what this program is to do for it; None for an agent outside.
    """

    agent: AgentName
    tenant: str | None = None
    kind: Kind
    dc_id: str | None = None
    endowment_mw: list[float]
    least_mw: list[float]
    most_mw: list[float]
    declared: Declared | None = None


class NewNegotiation(_Frozen):
    """A negotiation to open. `tenant` is whose it is; None: the platform's."""

    tenant: str | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
    started_by: StartedBy = StartedBy.HAND
    limit_key: str | None = None
    starts_at: UtcDatetime
    half_hours: int
    round_seconds: int
    most_rounds: int
    closes_at: UtcDatetime
    document: dict[str, Any] = {}
    agents: list[NewAgent]


class StoredNegotiation(_Row):
    """A negotiation as it is kept."""

    negotiation_id: UUID
    tenant: str
    name: str
    started_by: StartedBy
    limit_key: str | None
    starts_at: UtcDatetime
    half_hours: int
    round_seconds: int
    most_rounds: int
    closes_at: UtcDatetime
    state: NegotiationState
    state_reason: str | None
    round: int
    award_number: int
    answer_by: UtcDatetime | None
    outcome: dict[str, Any] | None
    version: int
    opened_at: UtcDatetime
    updated_at: UtcDatetime

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + self.half_hours * HALF_HOUR


class StoredAgent(_Row):
    agent: str
    operator: str
    kind: Kind
    dc_id: str | None
    endowment_mw: list[float]
    least_mw: list[float]
    most_mw: list[float]
    state: AgentState

    @property
    def is_outside(self) -> bool:
        return self.kind is Kind.OUTSIDE


class KnownAgent(StoredAgent):
    """An agent as the coordinator knows it: with what is declared for it, and the PUE of where it draws."""

    pue: float | None
    declared: dict[str, Any]


class KnownMessage(_Row):
    agent: str
    round: int
    sender: Literal["agent", "coordinator"]
    performative: str
    body: dict[str, Any]


class StoredMessage(KnownMessage):
    message_number: int
    message_id: str
    received_at: UtcDatetime


class StoredAward(_Row):
    award_number: int
    award_id: UUID
    agent: str
    draw_mw: list[float]
    cost_gbp: float
    fallback_gbp: float
    pays_gbp: str
    awarded_at: UtcDatetime


class StoredPayment(_Row):
    award_number: int
    payer: str
    payee: str
    amount_gbp: str


class HeldPower(_Row):
    """A booking that an award made."""

    booking_key: UUID
    dc_id: str
    state: str
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    it_power_kw: str


class NegotiationLife(_Row):
    """A negotiation from its opening on, as much of it as the caller may see."""

    negotiation: StoredNegotiation
    agents: list[StoredAgent]
    messages: list[StoredMessage]
    awards: list[StoredAward]
    payments: list[StoredPayment]
    bookings: list[HeldPower]


class OfferedPlan(_Frozen):
    """What an agent would do: what that costs it, and its draw in each half-hour (below 0 it gives)."""

    cost_gbp: Annotated[float, Field(ge=-LARGEST_COST_GBP, le=LARGEST_COST_GBP, allow_inf_nan=False)]
    draw_mw: Annotated[list[Draw], Field(min_length=1, max_length=96)]


class Fallback(_Frozen):
    """The answer to the first call: the best plan within the agent's own endowment."""

    message_id: MessageId
    plan: OfferedPlan


class Proposal(_Frozen):
    """The answer to a later call: a plan for each of its vectors of prices, in their order."""

    message_id: MessageId
    round: Annotated[int, Field(ge=1, le=40)]
    plans: Annotated[list[OfferedPlan], Field(min_length=1, max_length=20)]


class Confirmation(_Frozen):
    message_id: MessageId
    award_id: UUID


class Leaving(_Frozen):
    """The agent goes: it stands at its fallback, where it has said one."""

    message_id: MessageId
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON, pattern=r"^[^\x00]*$")] = ""


class Call(_Frozen):
    """A call for proposals. In round 0 it asks what the agent would do alone, within its endowment."""

    round: int
    kind: Literal["fallback", "proposals"]
    prices_gbp_per_mwh: list[list[float]]
    endowment_mw: list[float]
    least_mw: list[float]
    most_mw: list[float]
    starts_at: UtcDatetime
    half_hours: int
    answer_by: UtcDatetime


class AgentAward(_Frozen):
    """What an agent is awarded; `pays_gbp` below 0: it is paid."""

    award_id: UUID
    draw_mw: list[float]
    cost_gbp: float
    pays_gbp: float
    fallback_gbp: float
    price_gbp_per_mwh: list[float]
    confirm_by: UtcDatetime | None


class AgentPart(_Frozen):
    """One agent's part: what it is asked now, whether it has answered, and what it is awarded."""

    negotiation_id: UUID
    agent: str
    operator: str
    negotiation_state: NegotiationState
    negotiation_reason: str | None
    state: AgentState
    call: Call | None
    answered: bool
    award: AgentAward | None
