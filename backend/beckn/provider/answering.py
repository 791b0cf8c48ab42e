"""What a provider's platform answers: each request is worked out and becomes one callback.

Working on a request again, after a crash or a lost lease, comes to the same: quotes and orders have ids that follow
from their request, and the database has one order a transaction.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from beckn.demand_flex.answering import FlexibilityCounter, checked_demand_flex, is_about_flexibility
from beckn.network.inbox import InboxClaim
from beckn.network.outbox import OutgoingMessage
from beckn.protocol.acknowledgement import Error, ErrorCode, Refused
from beckn.protocol.context import read_message
from beckn.protocol.objects import DOMAIN, Action, Subscriber
from beckn.provider.messages_order import CatalogMessage, OnSearch, Order, OrderCallback, OrderMessage
from beckn.provider.messages_request import (
    REQUESTS,
    CancelRequest,
    ConfirmRequest,
    InitRequest,
    OrderRequest,
    SearchRequest,
    SelectRequest,
    StatusRequest,
    UpdateRequest,
)
from beckn.provider.order_book import OrderBook
from beckn.provider.order_document import answer_to, reply_context
from beckn.provider.order_limits import LONGEST_ORDER_BYTES, BuyerLimits
from beckn.provider.ordering import Ordering, new_start
from beckn.provider.quoting import Quoting
from beckn.provider.requirements import paging_of, wanted_by_intent, wanted_by_order
from beckn.provider.search import nothing_to_sell, search_catalogue
from database.errors import DatabaseUnreachable
from database.interface import Database

_log = logging.getLogger(__name__)

PATIENT_ATTEMPTS = 3
"""How often a request that fails for a reason of ours is tried; then its buyer is told so."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def check_request(action: Action, body: bytes, now: datetime) -> None:
    """Refuse what cannot be answered, be it about slots or about flexibility, before it is acknowledged.

    Raises:
        Refused: a field, or the value of a tag, is missing or wrong; it is named. Or 413: it is too long.
    """
    if action is not Action.SEARCH and len(body) > LONGEST_ORDER_BYTES:
        told = f"a message about an order is {LONGEST_ORDER_BYTES:,} bytes long at most"
        raise Refused(413, Error(code=ErrorCode.INVALID_REQUEST, message=told))
    if _NUL.search(body):
        raise Refused.invalid("a text contains the character NUL, which cannot be stored")
    if _is_flexibility(action, body):
        checked_demand_flex(action, body, now)
    else:
        checked_request(action, body, now)


def _is_flexibility(action: Action, body: bytes) -> bool:
    # A search of any other trade is answered alike: there is nothing of the kind here.
    return action is not Action.SEARCH and is_about_flexibility(body)


def checked_request(action: Action, body: bytes, now: datetime) -> OrderRequest:
    """A request about slots in full.

    Raises:
        Refused: a field, or the value of a tag, is missing or wrong; it is named.
    """
    request: OrderRequest = read_message(REQUESTS[action], body)
    if isinstance(request, SearchRequest):
        wanted_by_intent(request.message.intent, now)
        paging_of(request.message.intent)
    elif isinstance(request, SelectRequest | InitRequest | ConfirmRequest):
        wanted_by_order(request.message.order, now)
    elif isinstance(request, UpdateRequest):
        new_start(request)
    return request


class Provider:
    """A provider's platform at work: takes requests from the inbox, answers with callbacks for the outbox."""

    def __init__(
        self,
        database: Database,
        own: Subscriber,
        *,
        carbon_price_gbp_per_t: float,
        clock: Callable[[], datetime],
        limits: BuyerLimits | None = None,
    ) -> None:
        """`limits` are each buyer's."""
        self._own = own
        self._book = OrderBook(database, own.subscriber_id, limits=limits)
        self._quoting = Quoting(self._book, own, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
        self._ordering = Ordering(self._book, self._quoting, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
        self._flexibility = FlexibilityCounter(database, own, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
        self._carbon_price = carbon_price_gbp_per_t
        self._clock = clock

    def handle(self, claim: InboxClaim) -> Sequence[OutgoingMessage]:
        """The callback that answers a request; one that cannot be met is answered with an error."""
        now = self._clock()
        try:
            return [self._callback(claim, now)]
        except DatabaseUnreachable:
            raise
        except Exception:
            if claim.attempt <= PATIENT_ATTEMPTS:
                raise
            # It was acknowledged, and an ACK promises a callback.
            _log.exception("%s %s could not be worked out", claim.action, claim.message_id)
            return [self._not_worked_out(claim, now)]

    def _callback(self, claim: InboxClaim, now: datetime) -> OutgoingMessage:
        if _is_flexibility(claim.action, claim.body):
            return self._flexibility.answer(claim.action, claim.body, claim.received_at, now)
        request = checked_request(claim.action, claim.body, claim.received_at)
        try:
            callback = self._answer(request, now)
        except Refused as refused:
            _log.info("%s %s: %s", claim.action, claim.message_id, refused)
            callback = self._error(request, refused.error, now)
        return answer_to(request.context, callback)

    def _not_worked_out(self, claim: InboxClaim, now: datetime) -> OutgoingMessage:
        told = "this could not be worked out: see the log of this platform"
        error = Error(code=ErrorCode.BUSINESS_ERROR, message=told)
        if _is_flexibility(claim.action, claim.body):
            return self._flexibility.failed(claim.action, claim.body, claim.received_at, now, error)
        request = checked_request(claim.action, claim.body, claim.received_at)
        return answer_to(request.context, self._error(request, error, now))

    def _answer(self, request: OrderRequest, now: datetime) -> OnSearch | OrderCallback:
        context = reply_context(request.context, now=now, provider=self._own)
        if isinstance(request, SearchRequest):
            return OnSearch(context=context, message=self._search(request, now))
        return OrderCallback(context=context, message=OrderMessage(order=self._order(request, now)))

    def _search(self, request: SearchRequest, now: datetime) -> CatalogMessage:
        if request.context.domain != DOMAIN:
            return CatalogMessage(catalog=nothing_to_sell(f"Only {DOMAIN} is served here."))
        catalog = search_catalogue(
            wanted_by_intent(request.message.intent, now),
            paging_of(request.message.intent),
            self._book.grid(now),
            self._book.capacity(now),
            now=now,
            carbon_price_gbp_per_t=self._carbon_price,
        )
        return CatalogMessage(catalog=catalog)

    def _order(self, request: OrderRequest, now: datetime) -> Order:
        if isinstance(request, SelectRequest):
            return self._quoting.select(request, now)
        if isinstance(request, InitRequest):
            return self._quoting.init(request, now)
        if isinstance(request, ConfirmRequest):
            return self._ordering.confirm(request, now)
        if isinstance(request, UpdateRequest):
            return self._ordering.update(request, now)
        if isinstance(request, CancelRequest):
            return self._ordering.cancel(request, now)
        if isinstance(request, StatusRequest):
            return self._ordering.status(request)
        raise TypeError(f"a {type(request).__name__} is not answered with an order")

    def _error(self, request: OrderRequest, error: Error, now: datetime) -> OnSearch | OrderCallback:
        context = reply_context(request.context, now=now, provider=self._own)
        if isinstance(request, SearchRequest):
            return OnSearch(context=context, error=error)
        return OrderCallback(context=context, error=error)
