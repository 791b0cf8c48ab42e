"""A buyer's platform: signed requests go out, signed callbacks come in.

What arrives is kept in memory: this serves the buyer's tool and the tests, which ask again when they start again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.serving import WSGIRequestHandler, make_server

from beckn.answers import ACK, AckAnswer, Error, answered
from beckn.buyer_messages import Option, Transaction, confirm_message, intent_of, selected_order
from beckn.context_rules import read_message
from beckn.keys import MessageSigner
from beckn.message_body import signed_body
from beckn.messages import (
    ANY_CITY,
    COMPUTE,
    COUNTRY,
    DOMAIN,
    MESSAGE_TTL,
    VERSION,
    Action,
    City,
    Context,
    ContextLocation,
    Country,
    Subscriber,
)
from beckn.outgoing_calls import Caller, CallFailed, Reach
from beckn.provider.messages_order import (
    Billing,
    OnSearch,
    Order,
    OrderCallback,
)
from beckn.provider.messages_request import (
    CancelMessage,
    InitiatedMessage,
    InitiatedOrder,
    IntentMessage,
    Moments,
    MovedFulfillment,
    MovedStop,
    OrderedFulfillment,
    OrderIdMessage,
    SelectedMessage,
    UpdatedOrder,
    UpdateMessage,
)
from beckn.reception import AUTHORIZATION, Reception
from beckn.registry_client import RegistryUnavailable
from beckn.subscribers import Role, Subscribers
from half_hours import utc_now

ANSWER_WITHIN_S = 30.0
CALLBACKS = tuple(action for action in Action if action.startswith("on_"))
Callback = OnSearch | OrderCallback
Message = TypeVar("Message", bound=BaseModel)


class NotAnswered(Exception):
    """Something was not taken or not answered; the message says what and why."""

    def __init__(self, message: str, error: Error | None = None) -> None:
        super().__init__(message)
        self.error = error


class Mailbox:
    """Callbacks that arrived, for whoever waits for one. Each message is kept once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._callbacks: list[Callback] = []
        self._seen: set[tuple[str, Action, str]] = set()

    def put(self, sender: str, callback: Callback) -> None:
        key = sender, callback.context.action, callback.context.message_id
        with self._changed:
            if key not in self._seen:
                self._seen.add(key)
                self._callbacks.append(callback)
                self._changed.notify_all()

    def wait(self, wanted: Callable[[Callback], bool], timeout_s: float) -> Callback | None:
        """The first callback that is wanted, waiting for it if need be; it is taken out."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._callbacks)), timeout_s)
            found = next(filter(wanted, self._callbacks), None)
            if found is not None:
                self._callbacks.remove(found)
            return found

    def matching(self, wanted: Callable[[Callback], bool]) -> list[Callback]:
        """Every callback that is wanted, left where it is."""
        with self._changed:
            return list(filter(wanted, self._callbacks))


class Buyer:
    """A buyer's platform: sends signed requests, takes signed callbacks."""

    def __init__(
        self,
        own: Subscriber,
        signer: MessageSigner,
        subscribers: Subscribers,
        *,
        authenticates: bool = True,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Sends as `own`, which must be registered with the key of `signer`. Listens only within `listening`."""
        self.own = own
        self.mailbox = Mailbox()
        self._signer = signer
        self._authenticates = authenticates
        self._clock = clock
        self._caller = Caller()
        self._reception = Reception(
            subscribers, own=own, role=Role.BAP, authenticates=authenticates, clock=clock, domain=DOMAIN
        )

    def application(self) -> Flask:
        """`POST /beckn/on_search` to `/beckn/on_cancel`."""
        app = Flask("buyer", static_folder=None)

        @app.post("/beckn/<action>")
        def callback(action: str) -> Response | tuple[str, int]:
            if action not in CALLBACKS:
                return "there is no such endpoint", 404
            try:
                return answered(lambda: self._take(Action(action)))
            except RegistryUnavailable as unavailable:
                return f"the sender's key cannot be had now, try again: {unavailable}", 503

        return app

    @contextmanager
    def listening(self, host: str, port: int) -> Iterator[None]:
        """Take callbacks until the end of the block."""
        server = make_server(host, port, self.application(), threaded=True, request_handler=_QuietHandler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="callbacks")
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def search(self, deal: Transaction, url: str, *, page: int | None = None) -> str:
        """Search at a gateway or provider; the message id that answers will have."""
        intent = intent_of(deal.workload, self._clock(), page)
        return self.send(deal, Action.SEARCH, IntentMessage(intent=intent), url, provider=None)

    def select(self, deal: Transaction, option: Option) -> Order:
        """The quote for a slot."""
        return self._ask(deal, Action.SELECT, SelectedMessage(order=selected_order(deal, option)), option.provider)

    def init(self, deal: Transaction, option: Option, billing: Billing) -> Order:
        """The draft of the order."""
        selected = selected_order(deal, option)
        order = InitiatedOrder(
            provider=selected.provider,
            items=selected.items,
            billing=billing,
            fulfillments=(OrderedFulfillment(id=option.item.fulfillment_ids[0], type=COMPUTE),),
            tags=selected.tags,
        )
        return self._ask(deal, Action.INIT, InitiatedMessage(order=order), option.provider)

    def confirm(self, deal: Transaction, option: Option, draft: Order) -> Order:
        """The order."""
        return self._ask(deal, Action.CONFIRM, confirm_message(draft), option.provider)

    def status(self, deal: Transaction, provider: Subscriber, order_id: str) -> Order:
        return self._ask(deal, Action.STATUS, OrderIdMessage(order_id=order_id), provider)

    def update(self, deal: Transaction, provider: Subscriber, order_id: str, start: datetime) -> Order:
        """Move an order to another start."""
        stop = MovedStop(type="start", time=Moments(timestamp=start))
        moved = UpdatedOrder(id=order_id, fulfillments=(MovedFulfillment(stops=(stop,)),))
        return self._ask(deal, Action.UPDATE, UpdateMessage(update_target="fulfillments", order=moved), provider)

    def cancel(self, deal: Transaction, provider: Subscriber, order_id: str, reason: str) -> Order:
        message = CancelMessage(order_id=order_id, cancellation_reason_id=reason)
        return self._ask(deal, Action.CANCEL, message, provider)

    def send(
        self, deal: Transaction, action: Action, message: BaseModel, url: str, *, provider: Subscriber | None
    ) -> str:
        """Send a request; its message id.

        Raises:
            NotAnswered: it was refused, or nobody took it.
        """
        context = self.context(deal, action, provider)
        body = b'{"context":%b,"message":%b}' % (
            context.model_dump_json().encode(),
            message.model_dump_json().encode(),
        )
        self.post(url, action, body)
        return context.message_id

    def post(self, url: str, action: Action, body: bytes) -> AckAnswer:
        """Sign and send the bytes of a request.

        Raises:
            NotAnswered: it was refused, or nobody took it.
        """
        now = self._clock()
        headers = {}
        reach = Reach.ANYWHERE if self._authenticates else Reach.LOOPBACK
        if self._authenticates:
            headers[AUTHORIZATION] = self._signer.authorization(body, now=now, expires=now + MESSAGE_TTL)
        try:
            reply = self._caller.post(f"{url.rstrip('/')}/{action}", body, headers, reach=reach)
        except CallFailed as failed:
            raise NotAnswered(f"{url} did not take the {action}: {failed}") from failed
        try:
            answer = AckAnswer.model_validate_json(reply.body, extra="ignore")
        except ValidationError:
            told = reply.body[:300].decode("utf-8", "replace")
            raise NotAnswered(f"{url} answered the {action} with HTTP {reply.status}: {told}") from None
        if not answer.is_ack:
            raise NotAnswered(f"the {action} was refused: {_told(answer.error)}", answer.error)
        return answer

    def answer(self, action: Action, message_id: str, timeout_s: float = ANSWER_WITHIN_S) -> Callback:
        """The callback that answers a request.

        Raises:
            NotAnswered: none came in time, or it brings an error.
        """
        awaited = Action(f"on_{action}")
        callback = self.mailbox.wait(
            lambda each: each.context.action is awaited and each.context.message_id == message_id, timeout_s
        )
        if callback is None:
            raise NotAnswered(f"no {awaited} came within {timeout_s:g} s")
        if callback.error is not None:
            raise NotAnswered(f"{awaited} brings an error: {_told(callback.error)}", callback.error)
        return callback

    def options(self, message_id: str, timeout_s: float = ANSWER_WITHIN_S) -> tuple[list[Option], str | None]:
        """The slots of one `on_search`, best first, and what the provider says where there are none."""
        callback = self.answer(Action.SEARCH, message_id, timeout_s)
        if not isinstance(callback, OnSearch) or callback.message is None:
            raise NotAnswered("the on_search brings no catalogue")
        catalog, context = callback.message.catalog, callback.context
        provider = Subscriber(context.bpp_id or "", context.bpp_uri or "")
        found = [Option(provider, one.id, item) for one in catalog.providers for item in one.items]
        why = catalog.descriptor.short_desc if catalog.descriptor else None
        return sorted(found, key=lambda option: option.rank), why

    def next_news(self, deal: Transaction, timeout_s: float) -> Order | None:
        """The order as the next callback that nobody asked for brings it; None when none comes in time."""
        callback = self.mailbox.wait(lambda each: each.context.transaction_id == deal.transaction_id, timeout_s)
        if isinstance(callback, OrderCallback) and callback.message is not None:
            return callback.message.order
        return None

    def context(self, deal: Transaction, action: Action, provider: Subscriber | None) -> Context:
        """The context of a new request."""
        return Context(
            domain=DOMAIN,
            location=ContextLocation(country=Country(code=COUNTRY), city=City(code=ANY_CITY)),
            action=action,
            version=VERSION,
            bap_id=self.own.subscriber_id,
            bap_uri=self.own.url,
            bpp_id=provider.subscriber_id if provider else None,
            bpp_uri=provider.url if provider else None,
            transaction_id=deal.transaction_id,
            message_id=str(uuid4()),
            timestamp=self._clock(),
            ttl=MESSAGE_TTL,
        )

    def _ask(self, deal: Transaction, action: Action, message: BaseModel, provider: Subscriber) -> Order:
        message_id = self.send(deal, action, message, provider.url, provider=provider)
        callback = self.answer(action, message_id)
        if not isinstance(callback, OrderCallback) or callback.message is None:
            raise NotAnswered(f"the on_{action} brings no order")
        return callback.message.order

    def _take(self, action: Action) -> AckAnswer:
        message = self._reception.check(action, signed_body(self._reception, action), request.headers)
        model: type[Callback] = OnSearch if action is Action.ON_SEARCH else OrderCallback
        self.mailbox.put(message.sender, read_message(model, message.body))
        return ACK


def _told(error: Error | None) -> str:
    if error is None:
        return "no reason given"
    return " ".join(part for part in (error.code, error.message, error.paths and f"({error.paths})") if part)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: what arrives is printed as an order's news."""
