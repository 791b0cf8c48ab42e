"""Contracts in the database, with the events that come of them. Each method is one transaction.

All methods raise `database.errors.DatabaseError` or one of its kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import orjson
from pydantic import BaseModel, ConfigDict

from beckn.demand_flex.contract import Contract
from beckn.demand_flex.contract_limits import ContractLimits
from beckn.demand_flex.need import DemandNeed
from beckn.network.outbox import OutgoingMessage
from beckn.protocol.context import OrderContext
from database.interface import Database, Row
from flexibility.book import Situation, read_situation
from flexibility.event_model import NewEvent, StoredEvent
from vocabulary import StrEnum

LIMITS = ContractLimits()
_CONTRACTS = UUID("5b2f2f7e-6f0b-5a43-9a5f-0e1f1c1e7d11")


class Confirming(StrEnum):
    """How a confirm ended: `flexibility.events.Announcing`, or its buyer has as much as `ContractLimits` let it have.

    `TOO_MANY` contracts are open, `TOO_MANY_CANCELLED`, `TOO_LONG` they last together, `TOO_MUCH` they need.
    """

    ANNOUNCED = "announced"
    ALREADY = "already"
    DIFFERENT = "different"
    CLOSED = "closed"
    OVERLAPPING = "overlapping"
    TOO_MANY = "too_many"
    TOO_MANY_CANCELLED = "too_many_cancelled"
    TOO_LONG = "too_long"
    TOO_MUCH = "too_much"


class Confirmed(BaseModel):
    model_config = ConfigDict(frozen=True)

    state: Confirming
    event: StoredEvent | None


class ContractBook:
    """The contracts of one provider's platform. Safe to use from many threads and processes."""

    def __init__(self, database: Database, bpp_id: str, limits: ContractLimits = LIMITS) -> None:
        self._database = database
        self._bpp_id = bpp_id
        self.limits = limits

    def contract_id(self, context: OrderContext) -> UUID:
        """The one contract that a buyer's transaction can have."""
        return uuid5(_CONTRACTS, f"{self._bpp_id} {context.bap_id} {context.transaction_id.lower()}")

    def prospect(self, bap_id: str, event: NewEvent, now: datetime) -> Situation:
        """What an event of a buyer's would be offered from; nothing is announced."""
        arguments = {"p_bap_id": bap_id, "p_event": event.to_row(), "p_now": now}
        return read_situation(self._database.call("beckn_flexibility_prospect", arguments, repeatable=True))

    def contract(self, bap_id: str, contract_id: UUID) -> Contract | None:
        """A buyer's contract."""
        arguments = {"p_bpp_id": self._bpp_id, "p_bap_id": bap_id, "p_contract_id": str(contract_id)}
        row = self._database.call("beckn_flexibility_contract", arguments, repeatable=True)
        return None if row is None else _read(row)

    def confirm(self, context: OrderContext, need: DemandNeed, event: NewEvent, now: datetime) -> Confirming:
        """Announce what a buyer confirmed, and keep the contract with it."""
        contract = {
            "contract_id": str(self.contract_id(context)),
            "bpp_id": self._bpp_id,
            "bap_id": context.bap_id,
            "transaction_id": context.transaction_id,
            "context": context.model_dump(mode="json"),
            "need": need.model_dump(mode="json"),
        }
        arguments: dict[str, Any] = {
            "p_contract": contract,
            "p_event": event.to_row(),
            "p_limits": self.limits.to_row(),
            "p_now": now,
        }
        answer = self._database.call("beckn_confirm_flexibility", arguments, repeatable=True)
        return Confirmed.model_validate(answer).state

    def untold(self, limit: int) -> list[Contract]:
        """Contracts whose buyer does not know yet how they stand."""
        arguments = {"p_bpp_id": self._bpp_id, "p_limit": limit}
        rows = self._database.call("beckn_untold_flexibility", arguments, repeatable=True)
        return [_read(row) for row in rows]

    def tell(self, contract: Contract, outgoing: Sequence[OutgoingMessage]) -> bool:
        """Note that its buyer is told of the newest decision, by these messages; False where somebody else did."""
        arguments = {
            "p_contract_id": str(contract.contract_id),
            "p_told": contract.told,
            "p_newest": contract.newest,
            "p_outgoing": [message.row() for message in outgoing],
        }
        return bool(self._database.call("beckn_tell_flexibility", arguments)["state"] == "told")


def _read(row: Row) -> Contract:
    # From JSON, as the context was when it came: in it, times and enums are text.
    return Contract.model_validate_json(orjson.dumps(row))
