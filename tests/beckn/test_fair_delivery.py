"""A gateway among platforms that hang, flood or answer together: everybody else is served as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from beckn.network.delivery import DELIVERERS
from beckn.network.gateway_search import OPEN_ENDPOINTS, gateway_endpoints
from beckn.network.outbox import MOST_AT_ONCE_PER_RECIPIENT, MOST_TROUBLED_AT_ONCE
from beckn.network.participant import Participant
from beckn.network.subscribers import Role
from beckn.protocol.objects import Action, Subscriber
from beckn_network import ACKNOWLEDGED, Arrival, Party, Peer, a_message, buyer, eventually, in_bytes, peer, provider
from database.interface import OrderBy, Row
from database.postgres import PostgresDatabase
from served import Client, served
from web.application import make_application

OWN = Subscriber("gateway.example", "http://127.0.0.1:5050/beckn")


class Network:
    """A gateway that delivers, and the platforms that join it."""

    def __init__(self, client: Client, database: PostgresDatabase, joined: Participant) -> None:
        self.client = client
        self.database = database
        self.joined = joined

    def post(self, document: Any, action: Action, by: Party) -> requests.Response:
        body = in_bytes(document)
        return self.client.post(f"/beckn/{action}", data=body, headers=by.headers(body))

    def rows(self) -> list[Row]:
        return self.database.select("beckn_outbox", order=OrderBy(("outbox_id",)))


@pytest.fixture
def network(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Network]:
    joined = Participant.join(postgres, OWN, Role.BG, data_dir=tmp_path, authenticates=True)
    app = make_application("gateway", "", "0", open_endpoints=OPEN_ENDPOINTS)
    app.register_api(gateway_endpoints(postgres, joined))
    joined.deliverer.start()
    try:
        with served(app) as client:
            yield Network(client, postgres, joined)
    finally:
        joined.deliverer.stop()


@contextmanager
def hanging() -> Iterator[Peer]:
    """A platform that takes connections and says nothing."""
    over = threading.Event()

    def say_nothing(_: Arrival) -> tuple[int, bytes]:
        over.wait(60)
        return 200, ACKNOWLEDGED

    with peer() as silent:
        silent.answer = say_nothing
        try:
            yield silent
        finally:
            over.set()


def test_the_answers_of_all_providers_to_one_search_reach_the_buyer(network: Network) -> None:
    with peer() as at_buyer:
        one_buyer = buyer(at_buyer.url)
        one_buyer.register(network.database)
        search = a_message(Action.SEARCH, one_buyer)
        sellers = [provider(subscriber_id=f"seller-{number}.example") for number in range(3)]
        answers = []
        for seller in sellers:
            seller.register(network.database)
            ids = {name: search["context"][name] for name in ("transaction_id", "message_id")}
            answers.append(a_message(Action.ON_SEARCH, one_buyer, seller, message={"catalog": {}}, **ids))
        for answer, seller in zip(answers, sellers, strict=True):
            assert network.post(answer, Action.ON_SEARCH, seller).status_code == 200
        assert network.post(answers[0], Action.ON_SEARCH, sellers[0]).status_code == 200  # sent again
        arrivals = at_buyer.wait_for(3)
        assert {arrival.body for arrival in arrivals} == {in_bytes(answer) for answer in answers}
        eventually(lambda: {row["work_state"] for row in network.rows()} == {"completed"})
        assert len(at_buyer.arrivals) == 3


def test_two_buyers_searches_with_one_message_id_both_reach_the_provider(network: Network) -> None:
    with peer() as at_provider:
        provider(at_provider.url).register(network.database)
        first = buyer(subscriber_id="first.example")
        ids = {name: a_message(Action.SEARCH, first)["context"][name] for name in ("transaction_id", "message_id")}
        bodies = set()
        for party in (first, buyer(subscriber_id="second.example")):
            party.register(network.database)
            search = a_message(Action.SEARCH, party, **ids)
            assert network.post(search, Action.SEARCH, party).status_code == 200
            bodies.add(in_bytes(search))
        assert {arrival.body for arrival in at_provider.wait_for(2)} == bodies


def test_a_search_that_can_reach_nobody_is_refused_and_else_goes_to_those_it_can_reach(network: Network) -> None:
    one_buyer = buyer()
    one_buyer.register(network.database)
    provider("http://10.0.0.1/beckn", "inside.example").register(network.database, private_address=False)
    refused = network.post(a_message(Action.SEARCH, one_buyer), Action.SEARCH, one_buyer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "30001")
    with peer() as reachable:
        provider(reachable.url, "reachable.example").register(network.database)
        assert network.post(a_message(Action.SEARCH, one_buyer), Action.SEARCH, one_buyer).status_code == 200
        assert [row["recipient"] for row in network.rows()] == ["reachable.example"]
        reachable.wait_for(1)


def test_an_answer_to_a_buyer_that_may_not_be_called_is_refused(network: Network) -> None:
    hidden, seller = buyer("http://192.168.1.1/beckn", "hidden.example"), provider()
    hidden.register(network.database, private_address=False)
    seller.register(network.database)
    answer = network.post(a_message(Action.ON_SEARCH, hidden, seller), Action.ON_SEARCH, seller)
    assert (answer.status_code, answer.json()["error"]["paths"]) == (400, "context.bap_id")


def test_the_pool_is_larger_than_what_those_that_hang_may_take() -> None:
    assert MOST_AT_ONCE_PER_RECIPIENT < DELIVERERS
    assert MOST_TROUBLED_AT_ONCE + MOST_AT_ONCE_PER_RECIPIENT < DELIVERERS


def test_providers_that_hang_hold_up_no_other(network: Network) -> None:
    with hanging() as stuck, peer() as well:
        one_buyer = buyer()
        one_buyer.register(network.database)
        for number in range(3):
            provider(f"{stuck.url}", f"stuck-{number}.example").register(network.database)
        provider(well.url, "well.example").register(network.database)
        for number in range(1, 41):
            assert network.post(a_message(Action.SEARCH, one_buyer), Action.SEARCH, one_buyer).status_code == 200
            well.wait_for(number, within_s=20)

        def in_hand() -> list[str]:
            return [row["recipient"] for row in network.rows() if row["work_state"] == "running"]

        eventually(lambda: "well.example" not in in_hand())
        assert len(in_hand()) <= 3 * MOST_AT_ONCE_PER_RECIPIENT


def test_one_buyers_flood_is_bounded_and_anothers_search_goes_before_what_waits_of_it(network: Network) -> None:
    taken = threading.Semaphore(0)

    def answer_when_told(_: Arrival) -> tuple[int, bytes]:
        taken.acquire(timeout=30)
        return 200, ACKNOWLEDGED

    with peer() as slow:
        slow.answer = answer_when_told
        provider(slow.url).register(network.database)
        greedy, modest = buyer(subscriber_id="greedy.example"), buyer(subscriber_id="modest.example")
        for party in (greedy, modest):
            party.register(network.database)
        statuses = [
            network.post(a_message(Action.SEARCH, greedy, ttl="PT10M"), Action.SEARCH, greedy).status_code
            for _ in range(150)
        ]
        assert statuses.count(200) <= 105
        assert set(statuses) == {200, 429}
        search = a_message(Action.SEARCH, modest, ttl="PT10M")
        assert network.post(search, Action.SEARCH, modest).status_code == 200
        for _ in range(2 * MOST_AT_ONCE_PER_RECIPIENT + 2):
            taken.release()
        eventually(lambda: any(b"modest.example" in arrival.body for arrival in slow.arrivals))
        for _ in range(200):
            taken.release()
        eventually(lambda: {row["work_state"] for row in network.rows()} == {"completed"}, within_s=60)
        assert len(slow.arrivals) == statuses.count(200) + 1
