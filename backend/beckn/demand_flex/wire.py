"""What a buyer of flexibility writes: the contract of the Digital Energy Grid, as far as it is read here.

The three series of a contract (what is requested, what is offered, what was metered) lie on one grid of intervals,
whose ids join them. Names are written as the Digital Energy Grid writes them; what is not named here is let through.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from beckn.protocol.context import OrderContext, Text
from beckn.protocol.objects import Action, BecknObject
from beckn.protocol.values import Duration, Omittable, Timestamp, Uuid
from flexibility.event_model import MOST_HALF_HOURS

DEMAND_FLEX_DOMAIN = "beckn.one:DEG:demand-flex:1.0"

MOST_VALUES_IN_A_PAYLOAD = 100

SafeInteger = Annotated[int, Field(ge=0, lt=2**31)]


class DegObject(BecknObject):
    """Part of a contract: fields that are not named are not read."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)


class IntervalPeriod(DegObject):
    start: Timestamp
    duration: Duration


class PayloadDescriptor(DegObject):
    payload_type: Text
    units: Omittable[Text] = None


class Payload(DegObject):
    """A value of an interval; of types that are not known here anything may stand in it."""

    type: Text
    values: Annotated[tuple[Any, ...], Field(max_length=MOST_VALUES_IN_A_PAYLOAD)]


class Interval(DegObject):
    id: SafeInteger
    payloads: Annotated[tuple[Payload, ...], Field(max_length=MOST_VALUES_IN_A_PAYLOAD)]


class Series(DegObject):
    interval_period: IntervalPeriod
    payload_descriptors: tuple[PayloadDescriptor, ...] = ()
    intervals: Annotated[tuple[Interval, ...], Field(min_length=1, max_length=MOST_HALF_HOURS)]


class DemandFlexNeed(Series):
    type_: Literal["DemandFlexNeed"] = Field(alias="@type")


class NeedResource(DegObject):
    id: Text
    resource_attributes: DemandFlexNeed


class BuyerInputs(DegObject):
    currency: Omittable[Text] = None
    clearing_method: Omittable[Text] = None
    penalty_rate: Omittable[Decimal] = None


class OfferInput(DegObject):
    role: Text
    participant_id: Omittable[Text] = None
    inputs: Omittable[BuyerInputs] = None


class BuyOffer(DegObject):
    inputs: tuple[OfferInput, ...] = ()


class Offer(DegObject):
    id: Omittable[Text] = None
    offer_attributes: Omittable[BuyOffer] = None


class Commitment(DegObject):
    id: Text
    resources: Annotated[tuple[NeedResource, ...], Field(min_length=1, max_length=1)]
    offer: Omittable[Offer] = None
    commitment_attributes: Omittable[Series] = None


class WantedContract(DegObject):
    commitments: Annotated[tuple[Commitment, ...], Field(min_length=1, max_length=1)]


class NamedContract(DegObject):
    id: Uuid


class WantedMessage(DegObject):
    contract: WantedContract


class NamedMessage(DegObject):
    contract: NamedContract


class NeedRequest(DegObject):
    """A select, an init or a confirm."""

    context: OrderContext
    message: WantedMessage


class ContractRequest(DegObject):
    """A status or a cancel of a contract."""

    context: OrderContext
    message: NamedMessage


DemandFlexRequest = NeedRequest | ContractRequest

REQUESTS: dict[Action, type[NeedRequest] | type[ContractRequest]] = {
    Action.SELECT: NeedRequest,
    Action.INIT: NeedRequest,
    Action.CONFIRM: NeedRequest,
    Action.STATUS: ContractRequest,
    Action.CANCEL: ContractRequest,
}
