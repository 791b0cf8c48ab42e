"""Tells buyers by `on_status` how their contracts go on: sold, metered, settled, or come to nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid5

from beckn.demand_flex.answering import ContractCallback, ContractMessage, callback
from beckn.demand_flex.contract import Contract
from beckn.demand_flex.contract_book import ContractBook
from beckn.demand_flex.documents import contract_document
from beckn.network.outbox import OutgoingMessage
from beckn.protocol.context import callback_context
from beckn.protocol.objects import Action, Subscriber
from database.interface import Database
from flexibility.event_model import EventState
from queueing.consumer import Consumer, Round

CHANNEL = "flexibility_contracts"
POLL_SECONDS = 5.0
BATCH = 10
TTL = timedelta(hours=1)
"""For how long it is tried to reach a buyer that did not ask; after that it may ask by `status`."""

NOT_TOLD = frozenset({EventState.ANNOUNCED, EventState.OFFERED})
"""A confirm was answered; until something is sold there is no more to say."""


class BuyersTold(Consumer):
    """The one who tells buyers in this process. Whoever notes a message first has told it, so each is told once."""

    def __init__(
        self,
        database: Database,
        own: Subscriber,
        *,
        clock: Callable[[], datetime],
        stored: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Nothing runs before `start`; `stored` is called when there are messages in the outbox."""
        super().__init__(
            "flexibility-teller", self.work_once, database, CHANNEL, threads=1, poll_seconds=poll_seconds
        )
        self._book = ContractBook(database, own.subscriber_id)
        self._own = own
        self._clock = clock
        self._stored = stored

    def work_once(self) -> Round:
        """Tell everybody who does not know yet, in this thread.

        Raises:
            DatabaseError: it cannot be read or noted; then it will be tried again.
        """
        contracts = self._book.untold(BATCH)
        if contracts:
            self.found()
        for contract in contracts:
            told = [] if contract.state in NOT_TOLD else [self._message(contract, self._clock())]
            if self._book.tell(contract, told) and told:
                self._stored()
        return Round(len(contracts))

    def _message(self, contract: Contract, now: datetime) -> OutgoingMessage:
        asked = contract.context
        answer = callback_context(asked, now=now, provider=self._own, ttl=TTL)
        context = answer.model_copy(
            update={
                "action": Action.ON_STATUS,
                "message_id": str(uuid5(contract.contract_id, f"{Action.ON_STATUS} {contract.newest}")),
            }
        )
        message = ContractMessage(contract=contract_document(contract, self._own.subscriber_id))
        return callback(asked, ContractCallback(context=context, message=message))
