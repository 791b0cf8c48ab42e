"""A buyer's platform: signed requests go out, signed callbacks come in.

What arrives is kept in memory: this serves the buyer's tool and the tests, which ask again when they start again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import uuid4

from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.serving import WSGIRequestHandler, make_server

from beckn.answers import ACK, AckAnswer, Error, answered
from beckn.context_rules import read_message
from beckn.keys import MessageSigner
from beckn.messages import (
    ANY_CITY,
    COMPUTE,
    COMPUTE_SLOT,
    COUNTRY,
    CURRENCY,
    DOMAIN,
    GPU_MINUTE,
    MESSAGE_TTL,
    VERSION,
    Action,
    City,
    Context,
    ContextLocation,
    Country,
    Item,
    PaymentType,
    Price,
    Scalar,
    Subscriber,
    TagGroup,
    Time,
    TimeRange,
)
from beckn.outgoing_calls import Caller, CallFailed, Reach
from beckn.provider.messages_order import (
    AcceptedPrice,
    AcceptedQuote,
    Billing,
    CancelMessage,
    ConfirmedMessage,
    ConfirmedOrder,
    InitiatedMessage,
    InitiatedOrder,
    Intended,
    Intent,
    IntentCategory,
    IntentFulfillment,
    IntentItem,
    IntentMessage,
    MovedFulfillment,
    MovedStop,
    OnSearch,
    Order,
    OrderCallback,
    OrderDescriptor,
    OrderFulfillment,
    OrderIdMessage,
    OrderItem,
    OrderPayment,
    OrderStop,
    ProviderReference,
    SelectedMeasure,
    SelectedMessage,
    SelectedOrder,
    SelectedQuantity,
    UpdatedOrder,
    UpdateMessage,
)
from beckn.reception import AUTHORIZATION, Reception
from beckn.subscribers import Role, Subscribers
from beckn.values import decimal_text
from decisions.context import UtcDatetime
from half_hours import utc_now
from vocabulary import Urgency, WorkloadType

ANSWER_WITHIN_S = 30.0
CALLBACKS = tuple(action for action in Action if action.startswith("on_"))
Callback = OnSearch | OrderCallback
Message = TypeVar("Message", bound=BaseModel)


class BuyerWorkload(BaseModel):
    """A workload as its file says; what is unknown in it is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    job_id: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    workload_type: WorkloadType
    urgency: Urgency = Urgency.MEDIUM
    required_gpu_mins: float = Field(gt=0)
    required_cpu_cores: int | None = Field(None, ge=0)
    required_memory_gb: float | None = Field(None, ge=0)
    estimated_energy_kwh: float | None = Field(None, ge=0)
    carbon_cap_gco2: float | None = Field(None, ge=0)
    max_price_gbp: float | None = Field(None, ge=0)
    deadline: UtcDatetime | None = None
    deferral_window_mins: int | None = Field(None, ge=0)


class NotAnswered(Exception):
    """Something was not taken or not answered; the message says what and why."""

    def __init__(self, message: str, error: Error | None = None) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True)
class Option:
    """A slot that a provider offers: which item, of whom, and where to order it."""

    provider: Subscriber
    operator_id: str
    item: Item

    def tag(self, group: str, code: str) -> str | None:
        """The value of a tag."""
        return next(
            (
                tag.value
                for tags in self.item.tags
                if tags.descriptor.code == group
                for tag in tags.list
                if tag.descriptor.code == code
            ),
            None,
        )

    @property
    def rank(self) -> int:
        return int(self.tag("suitability", "rank") or 10**6)


@dataclass
class Transaction:
    """One deal: a workload, and the id that all its messages share."""

    workload: BuyerWorkload
    transaction_id: str = field(default_factory=lambda: str(uuid4()))


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
        app.config["MAX_CONTENT_LENGTH"] = 4 * 1024 * 1024

        @app.post("/beckn/<action>")
        def callback(action: str) -> Response | tuple[str, int]:
            if action not in CALLBACKS:
                return "there is no such endpoint", 404
            return answered(lambda: self._take(Action(action)))

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
        intent = _intent(deal.workload, self._clock(), page)
        return self.send(deal, Action.SEARCH, IntentMessage(intent=intent), url, provider=None)

    def select(self, deal: Transaction, option: Option) -> Order:
        """The quote for a slot."""
        return self._ask(deal, Action.SELECT, SelectedMessage(order=_selected(deal, option)), option.provider)

    def init(self, deal: Transaction, option: Option, billing: Billing) -> Order:
        """The draft of the order."""
        selected = _selected(deal, option)
        order = InitiatedOrder(
            provider=selected.provider,
            items=selected.items,
            billing=billing,
            fulfillments=(OrderFulfillment(id=option.item.fulfillment_ids[0], type=COMPUTE),),
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
        stop = MovedStop(type="start", time=Time(timestamp=start))
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
        if self._authenticates:
            headers[AUTHORIZATION] = self._signer.authorization(body, now=now, expires=now + MESSAGE_TTL)
        try:
            reply = self._caller.post(f"{url.rstrip('/')}/{action}", body, headers, reach=Reach.ANYWHERE)
        except CallFailed as failed:
            raise NotAnswered(f"{url} did not take the {action}: {failed}") from failed
        try:
            answer = AckAnswer.model_validate_json(reply.body)
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
        message = self._reception.check(action, request.get_data(), request.headers)
        model: type[Callback] = OnSearch if action is Action.ON_SEARCH else OrderCallback
        self.mailbox.put(message.sender, read_message(model, message.body))
        return ACK


def confirm_message(draft: Order) -> ConfirmedMessage:
    """What confirms a draft: the draft itself."""
    price = draft.quote.price
    return ConfirmedMessage(
        order=ConfirmedOrder(
            provider=draft.provider,
            items=draft.items,
            billing=draft.billing or Billing(name="not stated"),
            fulfillments=draft.fulfillments,
            quote=AcceptedQuote(id=draft.quote.id, price=AcceptedPrice(currency="GBP", value=price.value or "0")),
            payments=draft.payments or (OrderPayment(type=PaymentType.POST_FULFILLMENT),),
            tags=draft.tags,
        )
    )


def _intent(workload: BuyerWorkload, now: datetime, page: int | None) -> Intent:
    window = workload.deferral_window_mins
    latest = None if window is None else now + timedelta(minutes=window)
    stops = [OrderStop(type="start", time=Time(range=TimeRange(start=now, end=latest)))]
    if workload.deadline:
        stops.append(OrderStop(type="end", time=Time(timestamp=workload.deadline)))
    paging = TagGroup.known("paging", {"page": page})
    most = workload.max_price_gbp
    return Intent(
        category=IntentCategory(descriptor=OrderDescriptor(code=COMPUTE_SLOT)),
        item=IntentItem(
            descriptor=Intended(code=workload.workload_type),
            quantity=_quantity(workload),
            price=None if most is None else Price(currency=CURRENCY, maximum_value=decimal_text(most)),
        ),
        fulfillment=IntentFulfillment(type=COMPUTE, stops=tuple(stops)),
        tags=(*_requirements(workload), *((paging,) if paging else ())) or None,
    )


def _requirements(workload: BuyerWorkload) -> tuple[TagGroup, ...]:
    window = workload.deferral_window_mins
    groups = (
        TagGroup.known(
            "workload-requirements",
            {
                "job-id": workload.job_id,
                "workload-type": workload.workload_type,
                "urgency": workload.urgency,
                "cpu-cores": workload.required_cpu_cores,
                "memory-gb": workload.required_memory_gb,
                "estimated-energy-kwh": workload.estimated_energy_kwh,
                "max-price-gbp": workload.max_price_gbp,
                "deadline": workload.deadline,
                "deferral-window": None if window is None else f"PT{window}M",
            },
        ),
        TagGroup.known("energy-constraints", {"max-carbon-intensity-gco2-per-kwh": workload.carbon_cap_gco2}),
    )
    return tuple(group for group in groups if group)


def _quantity(workload: BuyerWorkload) -> SelectedQuantity:
    measure = Scalar(unit=GPU_MINUTE, value=decimal_text(workload.required_gpu_mins))
    return SelectedQuantity(selected=SelectedMeasure(measure=measure))


def _selected(deal: Transaction, option: Option) -> SelectedOrder:
    return SelectedOrder(
        provider=ProviderReference(id=option.operator_id),
        items=(OrderItem(id=option.item.id, quantity=_quantity(deal.workload)),),
        tags=_requirements(deal.workload) or None,
    )


def _told(error: Error | None) -> str:
    if error is None:
        return "no reason given"
    return " ".join(part for part in (error.code, error.message, error.paths and f"({error.paths})") if part)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: what arrives is printed as an order's news."""
