"""The objects of Beckn 1.1 that a catalogue is made of, as strictly as this network takes them.

Beckn's own schema requires next to nothing; these models say what a message here must have, and nothing may stand
in one that they do not name. What version 1.1 means and its readers often miss:

- nothing is ever null: what is unknown is left out, here on the way in (null is refused) and on the way out;
- `tags` is a list of groups of tags, and a tag's value is text, as is every amount: `values.decimal_text`;
- `address` is text, `gps` is "latitude, longitude";
- `Provider.ttl` is an integer and `Item.ttl` text, both in seconds; `Context.ttl` is an ISO 8601 duration.

Read a message with `model_validate_json` from the bytes that arrived: from JSON, times and enums are text, and null
is told from absent. In Python code None simply means left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from beckn.protocol.values import Decimals, Duration, Gps, HttpUri, Identity, Omittable, Timestamp, Uuid, decimal_text
from grid.half_hours import rfc3339
from vocabulary import StrEnum

DOMAIN = "beckn.one:DEG:compute-energy:1.0"
VERSION: Final = "1.1.0"
COUNTRY = "GBR"
ANY_CITY = "*"
CURRENCY = "GBP"
COMPUTE_SLOT = "COMPUTE_SLOT"
COMPUTE = "COMPUTE"
GPU_MINUTE = "GPU-min"
MESSAGE_TTL = timedelta(seconds=30)

TagValue = str | float | bool | datetime | None


def _without_null(schema: dict[str, Any]) -> None:
    """Make the JSON schema say what is meant by Omittable: absent, and not null."""
    for about in schema.get("properties", {}).values():
        if about.get("default", ...) is None:
            del about["default"]
        if {"type": "null"} in about.get("anyOf", ()):
            meant = [option for option in about.pop("anyOf") if option != {"type": "null"}]
            about.update(meant[0] if len(meant) == 1 else {"anyOf": meant})


class BecknObject(BaseModel):
    """Anything in a message. Its JSON has no null; an unknown field is refused."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra=_without_null,
    )


@dataclass(frozen=True)
class Subscriber:
    """A platform of the network: the id it is registered by, and the URL it takes messages at."""

    subscriber_id: str
    url: str


class Descriptor(BecknObject):
    name: Omittable[str] = None
    code: Omittable[str] = None
    short_desc: Omittable[str] = None
    long_desc: Omittable[str] = None


class Label(Descriptor):
    """What a tag or a group of tags is called; programs read its code."""

    code: Identity


class Tag(BecknObject):
    descriptor: Label
    value: str
    display: Omittable[bool] = None


class TagGroup(BecknObject):
    descriptor: Label
    display: Omittable[bool] = None
    list: tuple[Tag, ...]

    @classmethod
    def known(cls, code: str, values: Mapping[str, TagValue]) -> TagGroup | None:
        """The group of those values that are known (not None), or None when none is."""
        tags = tuple(
            Tag(descriptor=Label(code=name), value=_tag_text(value))
            for name, value in values.items()
            if value is not None
        )
        return cls(descriptor=Label(code=code), display=True, list=tags) if tags else None


def _tag_text(value: str | float | bool | datetime) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return rfc3339(value) if isinstance(value, datetime) else decimal_text(value)


class City(BecknObject):
    name: Omittable[str] = None
    code: Omittable[str] = None


class State(BecknObject):
    name: Omittable[str] = None
    code: Omittable[str] = None


class Country(BecknObject):
    name: Omittable[str] = None
    code: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 3166-1 alpha-3", examples=[COUNTRY])


class Location(BecknObject):
    id: Omittable[Identity] = None
    descriptor: Omittable[Descriptor] = None
    gps: Omittable[Gps] = None
    address: Omittable[str] = None
    city: Omittable[City] = None
    state: Omittable[State] = None
    country: Omittable[Country] = None
    area_code: Omittable[str] = None


class TimeRange(BecknObject):
    start: Omittable[Timestamp] = None
    end: Omittable[Timestamp] = None

    @model_validator(mode="after")
    def _runs_forward(self) -> TimeRange:
        if self.start and self.end and self.end < self.start:
            raise ValueError("a time range ends before it starts")
        return self


class Time(BecknObject):
    label: Omittable[str] = None
    timestamp: Omittable[Timestamp] = None
    duration: Omittable[Duration] = None
    range: Omittable[TimeRange] = None


class Scalar(BecknObject):
    unit: Identity
    value: Decimals


class Quantity(BecknObject):
    count: Omittable[Annotated[int, Field(ge=0)]] = None
    measure: Omittable[Scalar] = None


class UnitQuantity(BecknObject):
    """What a single unit of an item is: the thing that has the item's price."""

    count: Omittable[Annotated[int, Field(ge=1, le=1)]] = None  # a Literal would take true for 1
    measure: Scalar


class ItemQuantity(BecknObject):
    unitized: Omittable[UnitQuantity] = None
    available: Omittable[Quantity] = None
    minimum: Omittable[Quantity] = None
    maximum: Omittable[Quantity] = None
    selected: Omittable[Quantity] = None
    allocated: Omittable[Quantity] = None


class Price(BecknObject):
    """An amount of money. Without any value the price is not known."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217", examples=[CURRENCY])
    value: Omittable[Decimals] = None
    estimated_value: Omittable[Decimals] = None
    computed_value: Omittable[Decimals] = None
    listed_value: Omittable[Decimals] = None
    offered_value: Omittable[Decimals] = None
    minimum_value: Omittable[Decimals] = None
    maximum_value: Omittable[Decimals] = None


class Category(BecknObject):
    id: Omittable[Identity] = None
    parent_category_id: Omittable[Identity] = None
    descriptor: Descriptor


class Stop(BecknObject):
    id: Omittable[Identity] = None
    type: Identity
    location: Omittable[Location] = None
    time: Omittable[Time] = None


class Fulfillment(BecknObject):
    id: Omittable[Identity] = None
    type: Identity
    tracking: Omittable[bool] = None
    stops: Omittable[tuple[Stop, ...]] = None
    tags: Omittable[tuple[TagGroup, ...]] = None


class PaymentType(StrEnum):
    PRE_ORDER = "PRE-ORDER"
    PRE_FULFILLMENT = "PRE-FULFILLMENT"
    ON_FULFILLMENT = "ON-FULFILLMENT"
    POST_FULFILLMENT = "POST-FULFILLMENT"


class Payment(BecknObject):
    id: Omittable[Identity] = None
    type: PaymentType
    collected_by: Omittable[str] = None
    tags: Omittable[tuple[TagGroup, ...]] = None


class Item(BecknObject):
    """An item as a catalogue lists it."""

    id: Identity
    parent_item_id: Omittable[Identity] = None
    descriptor: Descriptor
    price: Price
    quantity: ItemQuantity
    category_ids: Omittable[tuple[Identity, ...]] = None
    location_ids: tuple[Identity, ...]
    fulfillment_ids: tuple[Identity, ...]
    payment_ids: Omittable[tuple[Identity, ...]] = None
    time: Omittable[Time] = None
    matched: Omittable[bool] = None
    related: Omittable[bool] = None
    recommended: Omittable[bool] = None
    ttl: Omittable[Annotated[str, Field(pattern=r"^[0-9]+$")]] = None
    tags: tuple[TagGroup, ...]


class Provider(BecknObject):
    """A business and what it lists. What items refer to must be here, or at the head of the catalogue."""

    id: Identity
    descriptor: Descriptor
    categories: Omittable[tuple[Category, ...]] = None
    fulfillments: Omittable[tuple[Fulfillment, ...]] = None
    payments: Omittable[tuple[Payment, ...]] = None
    locations: tuple[Location, ...]
    items: tuple[Item, ...]
    exp: Omittable[Timestamp] = None
    ttl: Omittable[Annotated[int, Field(ge=-1)]] = None
    tags: Omittable[tuple[TagGroup, ...]] = None

    @model_validator(mode="after")
    def _names_each_thing_once(self) -> Provider:
        _refuse_repeats("location", (location.id for location in self.locations))
        _refuse_repeats("category", (category.id for category in self.categories or ()))
        _refuse_repeats("fulfillment", (fulfillment.id for fulfillment in self.fulfillments or ()))
        _refuse_repeats("payment", (payment.id for payment in self.payments or ()))
        _refuse_repeats("item", (item.id for item in self.items))
        return self


class Catalog(BecknObject):
    descriptor: Omittable[Descriptor] = None
    fulfillments: Omittable[tuple[Fulfillment, ...]] = None
    payments: Omittable[tuple[Payment, ...]] = None
    providers: tuple[Provider, ...]
    exp: Omittable[Timestamp] = None
    ttl: Omittable[Annotated[str, Field(pattern=r"^[0-9]+$")]] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Catalog:
        _refuse_repeats("provider", (provider.id for provider in self.providers))
        for provider in self.providers:
            for missing in self._dangling_references(provider):
                raise ValueError(f"provider {provider.id}: {missing}")
        return self

    def _dangling_references(self, provider: Provider) -> Iterator[str]:
        locations = {location.id for location in provider.locations}
        categories = {category.id for category in provider.categories or ()}
        fulfillments = {each.id for each in (*(provider.fulfillments or ()), *(self.fulfillments or ()))}
        payments = {each.id for each in (*(provider.payments or ()), *(self.payments or ()))}
        for item in provider.items:
            for kind, referred, present in (
                ("location", item.location_ids, locations),
                ("category", item.category_ids or (), categories),
                ("fulfillment", item.fulfillment_ids, fulfillments),
                ("payment", item.payment_ids or (), payments),
            ):
                for identity in referred:
                    if identity not in present:
                        yield f"item {item.id} refers to {kind} {identity}, which is not in the catalogue"


def _refuse_repeats(kind: str, identities: Iterable[str | None]) -> None:
    seen: set[str] = set()
    for identity in identities:
        if identity in seen:
            raise ValueError(f"{kind} {identity} is listed twice")
        if identity is not None:
            seen.add(identity)


class Action(StrEnum):
    SEARCH = "search"
    ON_SEARCH = "on_search"
    SELECT = "select"
    ON_SELECT = "on_select"
    INIT = "init"
    ON_INIT = "on_init"
    CONFIRM = "confirm"
    ON_CONFIRM = "on_confirm"
    STATUS = "status"
    ON_STATUS = "on_status"
    UPDATE = "update"
    ON_UPDATE = "on_update"
    CANCEL = "cancel"
    ON_CANCEL = "on_cancel"


class ContextLocation(Location):
    country: Country


class Context(BecknObject):
    """What a message is part of, who exchanges it, and until when it holds.

    The two platforms may be absent, which Beckn's schema allows: a catalogue that is read with GET has no buyer's
    platform to name. Messages between platforms name both (a search only the buyer's).
    """

    domain: Identity = Field(examples=[DOMAIN])
    location: ContextLocation
    action: Action
    version: Literal["1.1.0", "1.1.1"]
    bap_id: Omittable[Identity] = None
    bap_uri: Omittable[HttpUri] = None
    bpp_id: Omittable[Identity] = None
    bpp_uri: Omittable[HttpUri] = None
    transaction_id: Uuid
    message_id: Uuid
    timestamp: Timestamp
    ttl: Duration

    @model_validator(mode="after")
    def _names_platforms_whole(self) -> Context:
        for platform in ("bap", "bpp"):
            if (getattr(self, f"{platform}_id") is None) != (getattr(self, f"{platform}_uri") is None):
                raise ValueError(f"{platform}_id and {platform}_uri must be given together")
        return self


class CatalogueContext(Context):
    action: Literal[Action.ON_SEARCH]


class CatalogMessage(BecknObject):
    catalog: Catalog


class CatalogueDocument(BecknObject):
    """A whole catalogue, as `on_search` carries it and as GET answers it."""

    context: CatalogueContext
    message: CatalogMessage
