"""What the context of every message between platforms must be, and how a faulty message is refused.

Beckn's own schema requires nothing of a context. Here a message must say what it is part of and who exchanges it; a
message that does not say for how long it holds does so for MESSAGE_TTL. Fields beyond those are let through unread,
at every depth, so that a later 1.1, or another network's, can have them. A refusal names the path of every faulty
field. Pure: the time is an argument.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from beckn.protocol.acknowledgement import Refused
from beckn.protocol.objects import (
    COUNTRY,
    MESSAGE_TTL,
    VERSION,
    Action,
    BecknObject,
    Context,
    ContextLocation,
    Subscriber,
)
from beckn.protocol.signing import CLOCK_SKEW
from beckn.protocol.values import Duration, HttpUri, Omittable
from grid.half_hours import rfc3339
from printable import printable

LONGEST_TTL = timedelta(days=1)

MOST_VALUES = 50_000
MOST_CATALOGUE_VALUES = 300_000
"""Of an `on_search`: fifteen hundred items with all their tags have two thirds of that."""

_MOST_FAULTS_TOLD = 20
_LONGEST_PATH = 100
_LONGEST_NAME = 200

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Text that can be stored and shown."""

SubscriberId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,200}$")]

Message = TypeVar("Message", bound=BaseModel)


class MessageCountry(BecknObject):
    model_config = ConfigDict(extra="ignore")

    code: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 3166-1 alpha-3", examples=[COUNTRY])


class MessageCity(BecknObject):
    model_config = ConfigDict(extra="ignore")

    code: Omittable[Text] = None


class MessageLocation(BecknObject):
    """Where a message belongs: which country and city, and no more of what a place may say."""

    model_config = ConfigDict(extra="ignore")

    country: MessageCountry
    city: Omittable[MessageCity] = None


class MessageContext(Context):
    """The context of a message between platforms; of a search, which may go to any provider."""

    model_config = ConfigDict(extra="ignore")

    domain: Text
    location: MessageLocation  # type: ignore[assignment]
    version: Literal["1.1.0", "1.1.1"] = Field(validation_alias=AliasChoices("version", "core_version"))
    ttl: Duration = MESSAGE_TTL
    bap_id: SubscriberId
    bap_uri: HttpUri
    bpp_id: Omittable[SubscriberId] = None
    bpp_uri: Omittable[HttpUri] = None


class OrderContext(MessageContext):
    """The context of every message but a search: it names the provider's platform too."""

    bpp_id: SubscriberId
    bpp_uri: HttpUri


class _Unread(BaseModel):
    """An object whose content is not looked at."""


class _Envelope(BaseModel):
    context: MessageContext
    message: Omittable[_Unread] = None
    error: Omittable[_Unread] = None


class _Search(_Envelope):
    message: _Unread


class _Request(_Search):
    context: OrderContext


class _Callback(_Envelope):
    context: OrderContext


def read_context(body: bytes, action: Action, *, now: datetime) -> MessageContext:
    """The context of a message that came to the endpoint of `action`: an `OrderContext` for all but a search.

    Of `message` nothing is read but that it is there.

    Raises:
        Refused: the body is not JSON or of too many values, a field is missing or wrong, the action is another, or
            the message's time has not come or is over.
    """
    _check_size(body, MOST_CATALOGUE_VALUES if action is Action.ON_SEARCH else MOST_VALUES)
    envelope = _Search if action is Action.SEARCH else _Callback if is_callback(action) else _Request
    found: _Envelope = read_message(envelope, body)
    if found.message is None and found.error is None:
        raise Refused.invalid("message: a callback has a message, or an error in its place", "message")
    context = found.context
    if context.action is not action:
        raise Refused.invalid(f"context.action is {context.action}, but this is /{action}", "context.action")
    _check_time(context, now)
    return context


def check_names(body: bytes) -> None:
    """See that every field of a message has a name that can be shown: printable and not too long.

    Raises:
        Refused: one has not, or the body is not JSON.
    """
    _check_size(body, MOST_VALUES)
    try:
        waiting = [from_json(body)]
    except ValueError:
        raise Refused.invalid("the message is not JSON") from None
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in value:
                if len(name) > _LONGEST_NAME or not name.isprintable():
                    raise Refused.invalid(f"{printable(name, _LONGEST_PATH)}: there is no field of that name")
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def read_message(model: type[Message], body: bytes, *, closed: bool = False) -> Message:
    """A whole message, as `model` has it. What no model in it names is let through unread, however deep it stands.

    Args:
        closed: whether a field that is not named is refused instead.

    Raises:
        Refused: it is not so; every faulty field is named.
    """
    try:
        return model.model_validate_json(body, extra=None if closed else "ignore")
    except ValidationError as error:
        raise refused_fields(error) from None


def refused_fields(error: ValidationError) -> Refused:
    """The refusal of a message in which pydantic found faults: the first of them, and how many more there are."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    found = [(printable(_path(fault["loc"]), _LONGEST_PATH), fault["msg"]) for fault in faults[:_MOST_FAULTS_TOLD]]
    told = "; ".join(": ".join(filter(None, fault)) for fault in found)
    if len(faults) > len(found):
        told += f"; and {len(faults) - len(found)} more"
    return Refused.invalid(told, *filter(None, dict.fromkeys(path for path, _ in found)))


def is_callback(action: Action) -> bool:
    """Whether the provider sends it to the buyer, in answer or by itself."""
    return action.startswith("on_")


def expiry_of(context: Context) -> datetime:
    """Until when a message holds: its timestamp and its ttl."""
    return context.timestamp + context.ttl


def callback_context(
    request: MessageContext, *, now: datetime, provider: Subscriber, ttl: timedelta = MESSAGE_TTL
) -> Context:
    """The context of the callback that answers a request: same transaction and message, sent at `now`."""
    return Context(
        domain=request.domain,
        location=ContextLocation.model_validate(request.location.model_dump()),
        action=Action("on_" + request.action),
        version=VERSION,
        bap_id=request.bap_id,
        bap_uri=request.bap_uri,
        bpp_id=provider.subscriber_id,
        bpp_uri=provider.url,
        transaction_id=request.transaction_id,
        message_id=request.message_id,
        timestamp=now,
        ttl=ttl,
    )


def _check_size(body: bytes, most_values: int) -> None:
    # Before it is parsed: four bytes a value would make objects of a hundred times the body's size.
    if body.count(b",") + body.count(b"{") + body.count(b"[") > most_values:
        raise Refused.invalid(f"the message has more than {most_values:,} values")


def _check_time(context: MessageContext, now: datetime) -> None:
    if context.timestamp > now + CLOCK_SKEW:
        raise Refused.invalid(
            f"context.timestamp is in the future: the time here is {rfc3339(now)}", "context.timestamp"
        )
    if context.ttl > LONGEST_TTL:
        raise Refused.invalid(f"context.ttl is longer than {LONGEST_TTL}", "context.ttl")
    if expiry_of(context) <= now:
        raise Refused.invalid(
            f"the message has expired: it was valid until {rfc3339(expiry_of(context))}, "
            f"and the time here is {rfc3339(now)}",
            "context.ttl",
        )


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")
