"""What a context must be: every faulty field is named, and nothing that is not faulty is refused."""

from __future__ import annotations

import copy
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from beckn.network.subscribers import SubscriptionQuery
from beckn.protocol.acknowledgement import ErrorCode, Refused
from beckn.protocol.context import OrderContext, callback_context, expiry_of, read_context, read_message
from beckn.protocol.objects import Action, Subscriber
from beckn_network import a_message, buyer, provider
from beckn_specification import context_faults, worked_messages
from grid.half_hours import rfc3339
from grid_world import NOW

ACTIONS = tuple(Action)
BUYER, PROVIDER = buyer(), provider()

# Where a context must have something, and of what the value there may never be made.
REQUIRED = [
    ("domain",),
    ("location",),
    ("location", "country"),
    ("location", "country", "code"),
    ("action",),
    ("version",),
    ("bap_id",),
    ("bap_uri",),
    ("bpp_id",),
    ("bpp_uri",),
    ("transaction_id",),
    ("message_id",),
    ("timestamp",),
    ("ttl",),
]
MISTYPED: st.SearchStrategy[Any] = st.sampled_from(
    [None, 7, 1.5, True, [], [{}], "", "\x00", "no such thing ever\n", "x" * 300]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


def a_document(action: Action = Action.SEARCH, **changes: Any) -> dict[str, Any]:
    return a_message(action, BUYER, None if action is Action.SEARCH else PROVIDER, now=NOW, **changes)


def read(document: Any, action: Action = Action.SEARCH) -> Any:
    return read_context(json.dumps(document).encode(), action, now=NOW)


def refused(document: Any, action: Action = Action.SEARCH) -> Refused:
    with pytest.raises(Refused) as caught:
        read(document, action)
    assert caught.value.status == 400
    assert caught.value.error.code is ErrorCode.INVALID_REQUEST
    return caught.value


def paths(document: Any, action: Action = Action.SEARCH) -> list[str]:
    return (refused(document, action).error.paths or "").split("; ")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_whole_context_is_read(action: Action) -> None:
    context = read(a_document(action), action)
    assert (context.action, context.bap_id, context.bap_uri) == (action, BUYER.subscriber_id, BUYER.url)
    assert isinstance(context, OrderContext) == (action is not Action.SEARCH)
    assert expiry_of(context) == NOW + timedelta(seconds=30)


@given(action=st.sampled_from(ACTIONS), where=st.sampled_from(REQUIRED), replacement=st.just(...) | MISTYPED)
def test_any_required_field_removed_or_mistyped_is_named(
    action: Action, where: tuple[str, ...], replacement: Any
) -> None:
    assume(action is not Action.SEARCH or not where[0].startswith("bpp_"))  # a search need not name a provider
    assume(not (isinstance(replacement, str) and _is_another_fine_value(where, replacement)))
    document = a_document(action)
    parent = document["context"]
    for key in where[:-1]:
        parent = parent[key]
    if replacement is ...:
        assume(where != ("ttl",))
        del parent[where[-1]]
    else:
        parent[where[-1]] = replacement
    assert ".".join(("context", *where)) in paths(document, action)


def _is_another_fine_value(where: tuple[str, ...], text: str) -> bool:
    """Names may be anything printable."""
    if where == ("domain",):
        return 0 < len(text) <= 200 and not any(ord(character) < 32 or ord(character) == 127 for character in text)
    return where in {("bap_id",), ("bpp_id",)} and re.fullmatch("[A-Za-z0-9._:/-]{1,200}", text) is not None


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b"null", b'"text"', b"{", b'{"context"', b"\xff\xfe{}", b"[" * 100_000]
)
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_context(body, Action.SEARCH, now=NOW)
    assert caught.value.status == 400


@given(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=40), st.integers(min_value=1, max_value=200)
)
def test_a_refusal_is_printable_and_short_whatever_a_stranger_names_fields(name: str, count: int) -> None:
    query = {f"{name}{number}" * 50: number for number in range(count)}
    with pytest.raises(Refused) as caught:
        read_message(SubscriptionQuery, json.dumps(query).encode(), closed=True)
    error = caught.value.error
    assert error.message.isprintable()
    assert len(error.message) <= 2000
    assert len(error.paths or "") <= 1000


def test_of_many_faulty_fields_the_first_are_named_and_all_are_counted() -> None:
    query = {f"field{number}": number for number in range(500)}
    with pytest.raises(Refused) as caught:
        read_message(SubscriptionQuery, json.dumps(query).encode(), closed=True)
    error = caught.value.error
    assert error.message.endswith("; and 480 more")
    assert error.paths is not None
    assert error.paths.count(";") == 19


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_json_is_a_message_or_is_refused(document: Any) -> None:
    refused(document)
    refused({"context": document, "message": document})


@pytest.mark.parametrize("action", ACTIONS)
def test_a_message_without_its_message_is_refused(action: Action) -> None:
    document = a_document(action)
    del document["message"]
    assert paths(document, action) == ["message"]
    assert paths(document | {"message": "text"}, action) == ["message"]


def test_a_callback_may_have_an_error_in_the_place_of_its_message() -> None:
    document = a_document(Action.ON_SELECT)
    del document["message"]
    read(document | {"error": {"code": "40002", "message": "none left"}}, Action.ON_SELECT)
    assert paths(a_document(Action.SELECT) | {"message": None, "error": {}}, Action.SELECT) == ["message"]


def test_every_faulty_field_is_named_at_once() -> None:
    document = a_document()
    del document["context"]["bap_id"]
    document["context"]["ttl"] = 30
    document["context"]["location"]["country"]["code"] = "GB"
    assert set(paths(document)) == {"context.bap_id", "context.ttl", "context.location.country.code"}


def test_the_action_is_the_endpoints() -> None:
    assert paths(a_document(Action.SELECT), Action.INIT) == ["context.action"]


def test_a_message_holds_from_its_timestamp_until_its_ttl_is_over() -> None:
    read(a_document(timestamp=rfc3339(NOW + timedelta(seconds=5))))
    assert paths(a_document(timestamp=rfc3339(NOW + timedelta(seconds=6)))) == ["context.timestamp"]
    read(a_document(timestamp=rfc3339(NOW - timedelta(seconds=29))))
    assert paths(a_document(timestamp=rfc3339(NOW - timedelta(seconds=30)))) == ["context.ttl"]
    assert paths(a_document(ttl="PT0S")) == ["context.ttl"]


@pytest.mark.parametrize("ttl", ["P2D", "P999999999D", "P9999999999999999999W", "PT99999999999999H"])
def test_a_ttl_is_a_day_at_most(ttl: str) -> None:
    read(a_document(ttl="P1D"))
    assert paths(a_document(ttl=ttl)) == ["context.ttl"]


@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_a_timestamp_at_the_end_of_time_is_refused_like_any_other(timestamp: str) -> None:
    refused(a_document(timestamp=timestamp))


@pytest.mark.parametrize("version", ["1.1.0", "1.1.1"])
def test_both_versions_are_understood(version: str) -> None:
    read(a_document(version=version))


def test_fields_that_a_later_version_may_have_are_let_through() -> None:
    document = a_document(key="an encryption key", something={"new": True})
    # What is known of a place and not read is let through too, in whatever form another network has it.
    place = {"circle": {"gps": "51.5, -0.1"}, "rating": "5", "gps": "51.5,-0.1,12", "state": None, "descriptor": 7}
    document["context"]["location"] |= place
    document["context"]["location"]["city"]["district"] = "Soho"
    document["context"]["location"]["country"] |= {"name": None, "iso": "GB"}
    document["beside"] = []
    read(document)


def test_a_message_that_does_not_say_how_long_it_holds_does_so_for_thirty_seconds() -> None:
    document = a_document()
    del document["context"]["ttl"]
    assert read(document).ttl == timedelta(seconds=30)
    document["context"]["timestamp"] = rfc3339(NOW - timedelta(seconds=31))
    assert "has expired" in str(refused(document))


def test_the_version_may_be_called_core_version() -> None:
    document = a_document()
    document["context"]["core_version"] = document["context"].pop("version")
    assert read(document).version == "1.1.0"
    document["context"]["core_version"] = "2.0.0"
    assert paths(document) == ["context.core_version"]


@pytest.mark.parametrize("ttl", ["PT10M", "P0Y0M0DT0H10M0S", "PT0.5S", "P1D", "P0DT10M"])
def test_a_ttl_is_any_duration_of_fixed_length(ttl: str) -> None:
    read(a_document(ttl=ttl))


@pytest.mark.parametrize("place", ["domain", "city"])
def test_text_that_the_database_cannot_hold_is_refused(place: str) -> None:
    document = a_document()
    if place == "city":
        document["context"]["location"]["city"]["code"] = "a\x00b"
    else:
        document["context"]["domain"] = "a\x00b"
    refused(document)


def test_a_callbacks_context_answers_its_request() -> None:
    request = read(a_document(Action.SELECT, transaction_id="0B53EE65-6B8B-4B27-8F0B-0D1F4A5C9A11"), Action.SELECT)
    moment = NOW + timedelta(seconds=2)
    context = callback_context(request, now=moment, provider=Subscriber(PROVIDER.subscriber_id, PROVIDER.url))
    assert (context.action, context.timestamp, context.ttl) == (Action.ON_SELECT, moment, timedelta(seconds=30))
    assert (context.transaction_id, context.message_id) == (request.transaction_id, request.message_id)
    assert (context.bap_id, context.bpp_uri) == (BUYER.subscriber_id, PROVIDER.url)
    document = copy.deepcopy(json.loads(context.model_dump_json()))
    read_context(json.dumps({"context": document, "message": {}}).encode(), Action.ON_SELECT, now=moment)


def test_the_worked_messages_contexts_are_taken() -> None:
    for document in worked_messages().values():
        document["context"]["timestamp"] = rfc3339(NOW)
        read(document, Action(document["context"]["action"]))


@pytest.mark.parametrize("action", [Action.SEARCH, Action.SELECT, Action.ON_CANCEL])
def test_a_context_is_refused_without_anything_that_the_network_requires(action: Action) -> None:
    document = a_document(action)
    for name in list(document["context"]):
        without = copy.deepcopy(document)
        del without["context"][name]
        if name != "ttl" and context_faults(without):
            assert f"context.{name}" in paths(without, action)
