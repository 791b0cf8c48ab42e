"""The pages of orders over real HTTP, and the picture of a transaction, which is text made of what is known."""

from __future__ import annotations

from uuid import UUID
from xml.etree import ElementTree

import pytest

from api.purchases import read_order
from dashboard.transaction_picture import Message, draw_transaction, transaction_messages
from database.postgres import PostgresDatabase
from grid_world import NOW, store_world
from served import Client
from stored_order import BUYER, ORDER, PROVIDER, received, sent, store_order

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


@pytest.fixture
def of_order(postgres: PostgresDatabase) -> PostgresDatabase:
    store_world(postgres)
    store_order(postgres, terms={"lines": HOSTILE})
    return postgres


def test_without_an_order_it_says_how_one_comes(api: Client) -> None:
    assert "No order yet" in api.get("/dashboard/orders").text


def test_an_order_shows_what_was_agreed_and_links_to_its_json(api: Client, of_order: PostgresDatabase) -> None:
    listed = api.get("/dashboard/orders")
    assert f'href="/dashboard/orders/{ORDER}"' in listed.text
    assert "1 h 30 min" in listed.text
    page = api.get(f"/dashboard/orders/{ORDER}")
    assert "£3.2500" in page.text
    assert "unknown" in page.text  # what it used, which is not known yet
    assert f'href="/dashboard/api/v1/market/orders/{ORDER}"' in page.text
    assert api.get(f"/api/v1/market/orders/{ORDER}").json()["order"]["price_gbp"] == 3.25
    for unknown in (UUID(int=9), "x"):
        assert api.get(f"/dashboard/orders/{unknown}").status_code == 404
    assert api.get(f"/api/v1/market/orders/{UUID(int=9)}").status_code == 404


def test_messages_that_are_kept_take_the_place_of_what_the_order_proves(
    api: Client, of_order: PostgresDatabase
) -> None:
    of_order.insert("beckn_inbox", [received("confirm", -1), received("status", 2, work_state="discarded")])
    of_order.insert("beckn_inbox", [received("status", 1, transaction_id=str(UUID(int=8)))])
    of_order.insert("beckn_outbox", [sent("on_confirm", -1, attempt=3)])
    messages = transaction_messages(read_order(of_order, ORDER))
    assert [(one.action, one.is_kept) for one in messages] == [
        ("select", False),
        ("on_select", False),
        ("init", False),
        ("on_init", False),
        ("confirm", True),
        ("on_confirm", True),
        ("status", True),
    ]
    assert messages[5].words == "delivered, 3 attempts"
    assert messages[6].has_failed
    assert "worked on, answered ACK" in api.get(f"/dashboard/orders/{ORDER}").text


def test_what_both_platforms_have_here_is_one_message(of_order: PostgresDatabase) -> None:
    of_order.insert("beckn_inbox", [received("select", 1)])
    of_order.insert("beckn_outbox", [sent("select", 1, sender=BUYER, origin=BUYER, recipient=PROVIDER)])
    (message,) = read_order(of_order, ORDER).messages
    assert message.sent_at is not None
    assert message.received_at is not None


@pytest.mark.parametrize("has_failed", [True, False])
def test_an_arrow_goes_from_its_sender_to_its_recipient(has_failed: bool) -> None:
    messages = [
        Message("select", True, NOW, "", is_kept=True, has_failed=has_failed),
        Message("on_select", False, None, "", is_kept=False),
    ]
    drawn = ElementTree.fromstring(draw_transaction(messages, HOSTILE, PROVIDER))
    first, second = (group.find("line") for group in drawn.iter("g"))
    assert first is not None
    assert second is not None
    assert (first.get("x1"), first.get("x2")) == (second.get("x2"), second.get("x1")) == ("8%", "92%")
    assert ["failed" in (group.get("class") or "") for group in drawn.iter("g")] == [has_failed, False]
    assert [text.text for text in drawn.iter("text") if text.get("class") == "when"] == [
        "Sun 22 Nov 08:04:11 UTC",
        "time unknown",
    ]


def test_hostile_texts_stay_text(api: Client, postgres: PostgresDatabase) -> None:
    cancelled = {"time": NOW.isoformat(), "cancelled_by": "CONSUMER", "reason": HOSTILE}
    store_world(postgres)
    store_order(postgres, cancellation=cancelled, bap_id=HOSTILE, state="CANCELLED")
    for path in ("/dashboard/orders", f"/dashboard/orders/{ORDER}"):
        page = api.get(path)
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "<script>" not in page.text
