"""What a buyer of flexibility is answered: what would be offered, and how its contract stands.

Working on a request again comes to the same: a transaction has one contract, whose id follows from it, and its event
is announced once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from beckn.demand_flex.contract import Contract, kw_of
from beckn.demand_flex.contract_book import Confirming, ContractBook
from beckn.demand_flex.contract_limits import ContractLimits
from beckn.demand_flex.documents import contract_document, drafted
from beckn.demand_flex.need import DemandNeed, read_need
from beckn.demand_flex.wire import (
    DEMAND_FLEX_DOMAIN,
    REQUESTS,
    ContractRequest,
    DemandFlexRequest,
    NeedRequest,
)
from beckn.network.outbox import OutgoingMessage
from beckn.network.subscribers import Role
from beckn.protocol.acknowledgement import Error, ErrorCode, Refused
from beckn.protocol.context import OrderContext, callback_context, read_message
from beckn.protocol.objects import Action, BecknObject, Context, Subscriber
from beckn.protocol.values import Omittable
from database.interface import Database
from flexibility.events import Cancelling, cancel
from flexibility.offering import offer_in
from printable import printable

_log = logging.getLogger(__name__)

TAKEN_BACK = "Its buyer took it back."


class ContractMessage(BecknObject):
    contract: dict[str, Any]


class ContractCallback(BecknObject):
    """`on_select` to `on_cancel`: the contract, or an error."""

    context: Context
    message: Omittable[ContractMessage] = None
    error: Omittable[Error] = None


class _Domain(BaseModel):
    domain: str


class _Addressed(BaseModel):
    context: _Domain


def is_about_flexibility(body: bytes) -> bool:
    """Whether a message is of the trade in flexibility; its context has been checked."""
    return read_message(_Addressed, body).context.domain == DEMAND_FLEX_DOMAIN


def checked_demand_flex(action: Action, body: bytes, now: datetime) -> DemandFlexRequest:
    """A request in full, before it is acknowledged.

    Raises:
        Refused: this platform does not do that with flexibility; or a field is missing or wrong: it is named.
    """
    if action not in REQUESTS:
        told = f"flexibility knows {', '.join(REQUESTS)} here, and no {action}"
        raise Refused.business(ErrorCode.ACTION_NOT_APPLICABLE, told)
    request: DemandFlexRequest = read_message(REQUESTS[action], body)
    if isinstance(request, NeedRequest):
        read_need(action, request, now)
    return request


class FlexibilityCounter:
    """Where buyers of flexibility are served."""

    def __init__(self, database: Database, own: Subscriber, *, carbon_price_gbp_per_t: float) -> None:
        self._database = database
        self._own = own
        self._book = ContractBook(database, own.subscriber_id)
        self._carbon_price = carbon_price_gbp_per_t

    def answer(self, action: Action, body: bytes, received_at: datetime, now: datetime) -> OutgoingMessage:
        """The callback to a request that was acknowledged at `received_at`; it may be an error."""
        request = checked_demand_flex(action, body, received_at)
        context = callback_context(request.context, now=now, provider=self._own)
        try:
            contract = self._contract(action, request, received_at, now)
        except Refused as refused:
            _log.info("%s %s: %s", action, request.context.message_id, refused)
            return callback(request.context, ContractCallback(context=context, error=refused.error))
        message = ContractMessage(contract=contract)
        return callback(request.context, ContractCallback(context=context, message=message))

    def failed(
        self, action: Action, body: bytes, received_at: datetime, now: datetime, error: Error
    ) -> OutgoingMessage:
        """The callback to a request that could not be worked out."""
        request = checked_demand_flex(action, body, received_at)
        context = callback_context(request.context, now=now, provider=self._own)
        return callback(request.context, ContractCallback(context=context, error=error))

    def _contract(
        self, action: Action, request: DemandFlexRequest, received_at: datetime, now: datetime
    ) -> dict[str, Any]:
        seller = self._own.subscriber_id
        if isinstance(request, ContractRequest):
            contract = self._known(request.context, UUID(request.message.contract.id))
            if action is Action.CANCEL:
                contract = self._cancelled(request.context, contract, now)
            return contract_document(contract, seller)
        need = read_need(action, request, received_at)
        if action is Action.CONFIRM:
            return contract_document(self._confirmed(request.context, need, now), seller)
        return drafted(need, self._offered_kw(request.context, need, now), seller)

    def _offered_kw(self, context: OrderContext, need: DemandNeed, now: datetime) -> Sequence[Decimal]:
        event = need.to_event(str(self._book.contract_id(context)))
        situation = self._book.prospect(context.bap_id, event, now)
        offer = offer_in(situation, event.wanted, self._carbon_price)
        return [kw_of(mwh) for mwh in offer.committed_mwh]

    def _confirmed(self, context: OrderContext, need: DemandNeed, now: datetime) -> Contract:
        contract_id = self._book.contract_id(context)
        known = self._book.contract(context.bap_id, contract_id)
        if known is None and not any(self._offered_kw(context, need, now)):
            raise Refused.business(
                ErrorCode.QUANTITY_UNAVAILABLE,
                "nothing that may give way is placed in these half-hours, or none of it gains by these prices",
            )
        event = need.to_event(str(contract_id))
        outcome = self._book.confirm(context, need, event, now)
        if outcome not in {Confirming.ANNOUNCED, Confirming.ALREADY}:
            raise _not_confirmed(outcome, self._book.limits)
        _log.info("flexibility contract %s: %s", contract_id, outcome)
        return self._known(context, contract_id)

    def _cancelled(self, context: OrderContext, contract: Contract, now: datetime) -> Contract:
        outcome = cancel(self._database, contract.event.event_id, TAKEN_BACK, now).state
        if outcome is Cancelling.CANCELLED:
            return self._known(context, contract.contract_id)
        why = "its gate has closed" if outcome is Cancelling.CLOSED else f"it is {contract.state}"
        raise Refused.business(ErrorCode.CANNOT_CANCEL, f"{why}: it cannot be taken back any more")

    def _known(self, context: OrderContext, contract_id: UUID) -> Contract:
        contract = self._book.contract(context.bap_id, contract_id)
        if contract is None:
            raise Refused.business(
                ErrorCode.ORDER_NOT_FOUND,
                f"{context.bap_id} has no contract {printable(str(contract_id))} here",
                "message.contract.id",
            )
        return contract


def callback(asked: OrderContext, document: ContractCallback) -> OutgoingMessage:
    """A callback on its way to the buyer that asked."""
    return OutgoingMessage(asked.bap_id, Role.BAP, document.context, document.model_dump_json().encode())


def _not_confirmed(outcome: Confirming, limits: ContractLimits) -> Refused:
    told = {
        Confirming.DIFFERENT: "this transaction has a contract of another need: begin a new transaction for another",
        Confirming.CLOSED: "its gate has closed",
        Confirming.OVERLAPPING: "flexibility of these half-hours is sold, or asked for, already: choose others",
        Confirming.TOO_MANY: f"{limits.open_contracts} of your contracts are open: wait for one to end or cancel one",
        Confirming.TOO_MANY_CANCELLED: (
            f"you cancelled {limits.cancelled_a_day} contracts within a day: confirm again when the first of these "
            "cancellations is a day old"
        ),
        Confirming.TOO_LONG: (
            f"your open contracts last {limits.strangers_half_hours} half-hours together at most, as no operator "
            "here answers for you: wait for one to end or cancel one"
        ),
        Confirming.TOO_MUCH: (
            f"your open contracts need {limits.strangers_mwh} MWh together at most, as no operator here answers for "
            "you: ask for less, wait for one to end or cancel one"
        ),
    }[outcome]
    return Refused.business(ErrorCode.BUSINESS_ERROR, told)
