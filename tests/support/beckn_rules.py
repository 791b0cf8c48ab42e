"""The parts of Beckn 1.1 that this network sends, as a JSON schema in our own words.

It says the public rules without the models that it judges: objects are closed; nothing is null; amounts and the
values of tags are text; ids of quotes, transactions and messages are UUIDs; times have a zone. Each action then has
what this network requires of it. The official schema, where there is one, is asked too: see `beckn_specification`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs

Schema = dict[str, Any]

ACTIONS = ("search", "select", "init", "confirm", "status", "update", "cancel")

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
AMOUNT: Schema = {"type": "string", "pattern": r"^[+-]?(\d+(\.\d+)?|\.\d+)$"}
UUID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
DURATION: Schema = {"type": "string", "format": "duration"}
SECONDS: Schema = {"type": "string", "pattern": r"^\d+$"}
ADDRESS: Schema = {"type": "string", "format": "uri", "pattern": "^https?://"}
COUNTRY_CODE: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
GPS: Schema = {"type": "string", "pattern": r"^[+-]?\d{1,2}(\.\d+)?, *[+-]?\d{1,3}(\.\d+)?$"}


def one_of(*words: str) -> Schema:
    return {"enum": list(words)}


def the(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(schema: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": schema, **bounds}


def an_object(required: str = "", /, **fields: Schema) -> Schema:
    """With these fields and no others; `required` names those that must be there."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


TAGS = list_of(the("TagGroup"))
FULFILLMENTS = list_of(the("Fulfillment"))
PAYMENTS = list_of(the("Payment"))
A_QUANTITY = an_object(count={"type": "integer", "minimum": 0}, measure=the("Scalar"))
STATE_CODES = one_of("SCHEDULED", "RUNNING", "DEFERRED", "COMPLETED", "CANCELLED")

SCHEMAS: dict[str, Schema] = {
    "Descriptor": an_object(name=TEXT, code=NAME, short_desc=TEXT, long_desc=TEXT),
    "Tag": an_object("descriptor value", descriptor=the("Descriptor"), value=TEXT, display=FLAG),
    "TagGroup": an_object(
        "descriptor list", descriptor=the("Descriptor"), display=FLAG, list=list_of(the("Tag"), minItems=1)
    ),
    "City": an_object(name=TEXT, code=TEXT),
    "State": an_object(name=TEXT, code=TEXT),
    "Country": an_object(name=TEXT, code=COUNTRY_CODE),
    "Location": an_object(
        id=NAME,
        descriptor=the("Descriptor"),
        gps=GPS,
        address=TEXT,
        city=the("City"),
        state=the("State"),
        country=the("Country"),
        area_code=TEXT,
    ),
    "Time": an_object(label=TEXT, timestamp=MOMENT, duration=DURATION, range=an_object(start=MOMENT, end=MOMENT)),
    "Scalar": an_object("unit value", unit=NAME, value=AMOUNT),
    "ItemQuantity": an_object(
        unitized=an_object("measure", count={"const": 1}, measure=the("Scalar")),
        **dict.fromkeys(("available", "minimum", "maximum", "selected", "allocated"), A_QUANTITY),
    ),
    "Price": an_object(
        "currency",
        currency={"type": "string", "pattern": "^[A-Z]{3}$"},
        value=AMOUNT,
        **{f"{kind}_value": AMOUNT for kind in ("estimated", "computed", "listed", "offered", "minimum", "maximum")},
    ),
    "Category": an_object("descriptor", id=NAME, parent_category_id=NAME, descriptor=the("Descriptor")),
    "Stop": an_object(id=NAME, type=one_of("start", "end"), location=the("Location"), time=the("Time")),
    "FulfillmentState": an_object(
        "descriptor", descriptor=an_object("code", code=STATE_CODES), updated_at=MOMENT, updated_by=NAME
    ),
    "Fulfillment": an_object(
        id=NAME,
        type=NAME,
        tracking=FLAG,
        stops=list_of(the("Stop")),
        customer=an_object(person=an_object(name=TEXT), contact=an_object(email=TEXT, phone=TEXT)),
        state=the("FulfillmentState"),
        tags=TAGS,
    ),
    "Payment": an_object(
        "type",
        id=NAME,
        type=one_of("PRE-ORDER", "PRE-FULFILLMENT", "ON-FULFILLMENT", "POST-FULFILLMENT"),
        collected_by=TEXT,
        status=one_of("PAID", "NOT-PAID"),
        params=an_object("amount currency", amount=AMOUNT, currency=TEXT),
        tags=TAGS,
    ),
    "Item": an_object(
        id=NAME,
        parent_item_id=NAME,
        descriptor=the("Descriptor"),
        price=the("Price"),
        quantity=the("ItemQuantity"),
        time=the("Time"),
        matched=FLAG,
        related=FLAG,
        recommended=FLAG,
        ttl=SECONDS,
        tags=TAGS,
        **{f"{kind}_ids": list_of(NAME) for kind in ("category", "location", "fulfillment", "payment")},
    ),
    "Provider": an_object(
        "id",
        id=NAME,
        descriptor=the("Descriptor"),
        categories=list_of(the("Category")),
        fulfillments=FULFILLMENTS,
        payments=PAYMENTS,
        locations=list_of(the("Location")),
        items=list_of(the("Item")),
        exp=MOMENT,
        ttl={"type": "integer", "minimum": -1},
        tags=TAGS,
    ),
    "Catalog": an_object(
        "providers",
        descriptor=the("Descriptor"),
        fulfillments=FULFILLMENTS,
        payments=PAYMENTS,
        providers=list_of(the("Provider")),
        exp=MOMENT,
        ttl=SECONDS,
    ),
    "Intent": an_object(
        descriptor=the("Descriptor"),
        category=the("Category"),
        item=the("Item"),
        fulfillment=the("Fulfillment"),
        payment=the("Payment"),
        tags=TAGS,
    ),
    "Billing": an_object("name", name=NAME, email=TEXT, phone=TEXT, address=TEXT, city=the("City"), tax_id=TEXT),
    "Quotation": an_object(
        "id price",
        id=UUID,
        price=the("Price"),
        breakup=list_of(
            an_object("title price", title=NAME, item=an_object("id", id=NAME), price=the("Price")), minItems=1
        ),
        ttl=DURATION,
    ),
    "CancellationTerm": an_object(
        "fulfillment_state cancellation_fee",
        fulfillment_state=an_object("descriptor", descriptor=an_object("code", code=STATE_CODES)),
        reason_required=FLAG,
        cancel_by=the("Time"),
        cancellation_fee=an_object("amount", amount=the("Price")),
    ),
    "Cancellation": an_object(
        "time cancelled_by reason",
        time=MOMENT,
        cancelled_by=one_of("CONSUMER", "PROVIDER"),
        reason=an_object("descriptor", id=NAME, descriptor=the("Descriptor")),
    ),
    "Order": an_object(
        id=NAME,
        status=one_of("ACTIVE", "COMPLETE", "CANCELLED"),
        provider=the("Provider"),
        items=list_of(the("Item"), minItems=1),
        billing=the("Billing"),
        fulfillments=FULFILLMENTS,
        quote=the("Quotation"),
        payments=PAYMENTS,
        cancellation_terms=list_of(the("CancellationTerm")),
        cancellation=the("Cancellation"),
        created_at=MOMENT,
        updated_at=MOMENT,
        tags=TAGS,
    ),
    "Context": an_object(
        "domain action version transaction_id message_id timestamp ttl location",
        domain=NAME,
        location=the("Location"),
        action=one_of(*(f"{on}{action}" for action in ACTIONS for on in ("", "on_"))),
        version=one_of("1.1.0", "1.1.1"),
        bap_id=NAME,
        bap_uri=ADDRESS,
        bpp_id=NAME,
        bpp_uri=ADDRESS,
        transaction_id=UUID,
        message_id=UUID,
        timestamp=MOMENT,
        ttl=DURATION,
    ),
    "Error": an_object("message", code={"type": "string", "pattern": r"^[345]00\d\d$"}, message=NAME, paths=TEXT),
    "Subscription": an_object(
        "subscriber_id url type domain key_id signing_public_key valid_from valid_until status",
        subscriber_id=NAME,
        url=ADDRESS,
        type=one_of("BAP", "BPP", "BG"),
        domain=NAME,
        location=the("Location"),
        key_id=UUID,
        signing_public_key=NAME,
        encr_public_key=NAME,
        valid_from=MOMENT,
        valid_until=MOMENT,
        status=one_of("INITIATED", "UNDER_SUBSCRIPTION", "SUBSCRIBED", "EXPIRED", "UNSUBSCRIBED", "INVALID_SSL"),
        created=MOMENT,
        updated=MOMENT,
    ),
}

OF_AN_ORDER = {
    "select": "provider items",
    "on_select": "provider items quote",
    "init": "provider items billing fulfillments",
    "on_init": "provider items billing fulfillments quote payments",
    "confirm": "provider items billing fulfillments payments quote",
    "on_confirm": "id status provider items billing fulfillments quote payments created_at updated_at",
    "on_status": "id status fulfillments updated_at",
    "update": "id",
    "on_update": "id status fulfillments updated_at",
    "on_cancel": "id status cancellation updated_at",
}
"""What the order of a message of this action has."""


@cache
def message_schema(action: str, *, between_platforms: bool) -> jsonschema_rs.Draft202012Validator:
    """A message of this action; `between_platforms` says that its context must name the platforms too."""
    body: Schema = {
        "type": "object",
        "properties": {"context": _context_of(action, between_platforms), "message": _message_of(action)},
        "required": ["context"],
        "additionalProperties": False,
    }
    if action.startswith("on_"):
        body["properties"]["error"] = the("Error")
        body["oneOf"] = [{"required": ["message"]}, {"required": ["error"]}]
    else:
        body["required"].append("message")
    return _validator(body)


@cache
def context_schema(action: str) -> jsonschema_rs.Draft202012Validator:
    """A message of which only the context matters."""
    context = _context_of(action, between_platforms=True)
    return _validator({"type": "object", "properties": {"context": context}, "required": ["context"]})


@cache
def subscriptions_schema() -> jsonschema_rs.Draft202012Validator:
    """The answer to a lookup."""
    return _validator(list_of(the("Subscription")))


def _context_of(action: str, between_platforms: bool) -> Schema:
    named = ["bap_id", "bap_uri"] + ([] if action == "search" else ["bpp_id", "bpp_uri"])
    return {
        "allOf": [the("Context")],
        "properties": {
            "action": {"const": action},
            "location": {"required": ["country"], "properties": {"country": {"required": ["code"]}}},
        },
        "required": named if between_platforms else [],
    }


def _message_of(action: str) -> Schema:
    if action == "search":
        sought = [{"required": [kind]} for kind in ("item", "category", "descriptor")]
        return an_object("intent", intent={"allOf": [the("Intent")], "required": ["fulfillment"], "anyOf": sought})
    if action == "on_search":
        return an_object("catalog", catalog={"allOf": [the("Catalog")], "properties": {"providers": _LISTED}})
    if action in {"status", "cancel"}:
        reason: Schema = {"cancellation_reason_id": NAME, "descriptor": the("Descriptor")}
        return an_object("order_id", order_id=NAME, **(reason if action == "cancel" else {}))
    order = {"allOf": [the("Order")], "required": OF_AN_ORDER[action].split()}
    if action == "update":
        return an_object("update_target order", update_target=NAME, order=order)
    return an_object("order", order=order)


_LISTED: Schema = {
    "items": {
        "required": ["id", "descriptor", "locations", "items"],
        "properties": {
            "items": {
                "items": {
                    "required": "id descriptor price quantity location_ids fulfillment_ids tags".split()  # noqa: SIM905
                }
            }
        },
    }
}
"""What each provider of a catalogue, and each of its items, has."""


def _validator(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}, validate_formats=True)
