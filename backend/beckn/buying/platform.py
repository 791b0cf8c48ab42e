"""A buyer's platform: signed requests go out, signed callbacks come in.

What arrives is kept in memory: this serves the buyer's tool and the tests, which ask again when they start again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

from flask import Flask, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.serving import WSGIRequestHandler, make_server

from beckn.buying.heard_messages import HeardOnSearch, HeardOrderCallback
from beckn.buying.messages import (
    Option,
    Transaction,
    confirm_message,
    intent_of,
    ordered_fulfillment,
    selected_order,
)
from beckn.network.keys import MessageSigner
from beckn.network.message_body import signed_body
from beckn.network.outgoing_calls import AddressPolicy, Caller, CallFailed
from beckn.network.reception import AUTHORIZATION, Reception
from beckn.network.registry_client import RegistryUnavailable
from beckn.network.responses import answered
from beckn.network.subscribers import Role, Subscribers
from beckn.protocol.acknowledgement import ACK, AckAnswer, Error, ErrorCode, Refused
from beckn.protocol.context import read_message
from beckn.protocol.objects import (
    ANY_CITY,
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
from beckn.provider.messages_order import (
    Billing,
    Order,
    OrderCallback,
)
from beckn.provider.messages_request import (
    CancelMessage,
    ConfirmedMessage,
    InitiatedMessage,
    InitiatedOrder,
    IntentMessage,
    Moments,
    MovedFulfillment,
    MovedStop,
    OrderIdMessage,
    SelectedMessage,
    UpdatedOrder,
    UpdateMessage,
)
from clock import utc_now
from printable import printable

ANSWER_WITHIN_S = 30.0
CALLBACKS = tuple(action for action in Action if action.startswith("on_"))
Callback = HeardOnSearch | HeardOrderCallback
MOST_ANSWERS = 50
"""How many providers' answers to one search are looked at."""

MOST_CALLBACKS_KEPT = 500
MOST_BYTES_KEPT = 64 * 1024 * 1024
MOST_CALLBACKS_KNOWN = 10_000
_LAST = 10**9
Message = TypeVar("Message", bound=BaseModel)


class NotAnswered(Exception):
    """Something was not taken or not answered; the message says what and why."""

    def __init__(self, message: str, error: Error | None = None) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, eq=False)
class _Kept:
    callback: Callback
    size_bytes: int


class Mailbox:
    """Callbacks that arrived, for whoever waits for one. Each message is kept once, and only so many of all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: list[_Kept] = []
        self._seen: set[tuple[str, Action, str]] = set()

    def put(self, sender: str, callback: Callback, size_bytes: int = 0) -> None:
        """Keep a callback, which was so long.

        Raises:
            Refused: 429, there is too much already that nobody waited for.
        """
        key = sender, callback.context.action, callback.context.message_id
        with self._changed:
            if key in self._seen:
                return
            kept_bytes = size_bytes + sum(each.size_bytes for each in self._kept)
            if len(self._kept) >= MOST_CALLBACKS_KEPT or kept_bytes > MOST_BYTES_KEPT:
                raise Refused(
                    429, Error(code=ErrorCode.BUSINESS_ERROR, message="too many callbacks: this one was not expected")
                )
            if len(self._seen) >= MOST_CALLBACKS_KNOWN:
                self._seen.clear()
            self._seen.add(key)
            self._kept.append(_Kept(callback, size_bytes))
            self._changed.notify_all()

    def wait(self, wanted: Callable[[Callback], bool], timeout_s: float) -> Callback | None:
        """The first callback that is wanted, waiting for it if need be; it is taken out."""

        def first() -> _Kept | None:
            return next((each for each in self._kept if wanted(each.callback)), None)

        with self._changed:
            found = self._changed.wait_for(first, timeout_s)
            if found is None:
                return None
            self._kept.remove(found)
            return found.callback

    def matching(self, wanted: Callable[[Callback], bool]) -> list[Callback]:
        """Every callback that is wanted, left where it is."""
        with self._changed:
            return [each.callback for each in self._kept if wanted(each.callback)]


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
            subscribers, own=own, role=Role.BAP, authenticates=authenticates, clock=clock, domains=(DOMAIN,)
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
                return f"the sender's key cannot be looked up at the moment, try again: {unavailable}", 503

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
            fulfillments=(ordered_fulfillment(option),),
            tags=selected.tags,
        )
        return self._ask(deal, Action.INIT, InitiatedMessage(order=order), option.provider)

    def confirm(self, deal: Transaction, option: Option, draft: Order) -> Order:
        """The order of a draft as it is."""
        return self.order(deal, option, confirm_message(draft))

    def order(self, deal: Transaction, option: Option, message: ConfirmedMessage) -> Order:
        """The order that a confirm makes."""
        deal.provider_id = option.provider.subscriber_id
        return self._ask(deal, Action.CONFIRM, message, option.provider)

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
        reach = AddressPolicy.ANYWHERE if self._authenticates else AddressPolicy.LOOPBACK
        if self._authenticates:
            headers[AUTHORIZATION] = self._signer.authorization(body, now=now, expires=now + MESSAGE_TTL)
        try:
            reply = self._caller.post(f"{url.rstrip('/')}/{action}", body, headers, reach=reach)
        except CallFailed as failed:
            raise NotAnswered(f"{url} did not accept the {action}: {failed}") from failed
        try:
            answer = AckAnswer.model_validate_json(reply.body, extra="ignore")
        except ValidationError:
            told = printable(reply.body.decode("utf-8", "replace"))
            raise NotAnswered(f"{url} answered the {action} with HTTP {reply.status}: {told}") from None
        if not answer.is_ack:
            raise NotAnswered(f"the {action} was refused: {_told(answer.error)}", answer.error)
        return answer

    def answer(
        self,
        action: Action,
        message_id: str,
        timeout_s: float = ANSWER_WITHIN_S,
        *,
        provider: Subscriber | None = None,
    ) -> Callback:
        """The callback that answers a request, from whom it was sent to if that is told.

        Raises:
            NotAnswered: none came in time, or it brings an error.
        """
        awaited = Action(f"on_{action}")
        callback = self.mailbox.wait(_answers(awaited, message_id, provider), timeout_s)
        if callback is None:
            raise NotAnswered(f"no {awaited} came within {timeout_s:g} s")
        if callback.error is not None:
            raise NotAnswered(f"{awaited} came with an error: {_told(callback.error)}", callback.error)
        return callback

    def options(
        self, message_id: str, timeout_s: float = ANSWER_WITHIN_S, *, collect_s: float = 0
    ) -> tuple[list[Option], str | None]:
        """The slots that a search found, each provider's in its order, and why there are none where there are not.

        Args:
            timeout_s: how long the first answer is waited for.
            collect_s: how long after the first one other providers' answers are waited for.

        Raises:
            NotAnswered: none came in time, or none brings a catalogue.
        """
        wanted = _answers(Action.ON_SEARCH, message_id, None)
        answers = [self.mailbox.wait(wanted, timeout_s)]
        if answers[0] is None:
            raise NotAnswered(f"no {Action.ON_SEARCH} came within {timeout_s:g} s")
        end = time.monotonic() + collect_s
        while len(answers) < MOST_ANSWERS and (left_s := end - time.monotonic()) > 0:
            answers.append(self.mailbox.wait(wanted, left_s))
        found: list[Option] = []
        why: str | None = None
        error: Error | None = None
        brought = False
        for answer in answers:
            if not isinstance(answer, HeardOnSearch):
                continue
            error = error or answer.error
            if answer.message is None:
                continue
            brought = True
            catalog, context = answer.message.catalog, answer.context
            provider = Subscriber(context.bpp_id, context.bpp_uri)
            found += [Option(provider, one.id, item) for one in catalog.providers for item in one.items]
            why = why or (catalog.descriptor.short_desc if catalog.descriptor else None)
        if not brought:
            raise NotAnswered(f"{Action.ON_SEARCH} came with an error: {_told(error)}", error)
        return sorted(found, key=lambda option: _LAST if option.rank is None else option.rank), why

    def next_news(self, deal: Transaction, timeout_s: float) -> Order | None:
        """The order as the next callback that nobody asked for brings it; None when none comes in time."""

        def is_news(each: Callback) -> bool:
            context = each.context
            return (
                isinstance(each, OrderCallback)
                and same_uuid(context.transaction_id, deal.transaction_id)
                and deal.provider_id in {None, context.bpp_id}
            )

        callback = self.mailbox.wait(is_news, timeout_s)
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
        callback = self.answer(action, message_id, provider=provider)
        if not isinstance(callback, OrderCallback) or callback.message is None:
            raise NotAnswered(f"on_{action} came without an order")
        return callback.message.order

    def _take(self, action: Action) -> AckAnswer:
        message = self._reception.check(action, signed_body(self._reception, action), request.headers)
        model: type[Callback] = HeardOnSearch if action is Action.ON_SEARCH else HeardOrderCallback
        self.mailbox.put(message.sender, read_message(model, message.body), len(message.body))
        return ACK


def same_uuid(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def _answers(action: Action, message_id: str, provider: Subscriber | None) -> Callable[[Callback], bool]:
    """Whether a callback is the one awaited. Its bpp_id is who signed it: reception saw to that."""
    return lambda each: (
        each.context.action is action
        and same_uuid(each.context.message_id, message_id)
        and (provider is None or each.context.bpp_id == provider.subscriber_id)
    )


def _told(error: Error | None) -> str:
    if error is None:
        return "no reason given"
    return " ".join(part for part in (error.code, error.message, error.paths and f"({error.paths})") if part)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: what arrives is printed as an order's news."""
