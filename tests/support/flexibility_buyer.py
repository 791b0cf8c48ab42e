"""A buyer of flexibility for tests: real HTTP on loopback, real signatures; what it is told it keeps."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import requests
from flask import Flask, Response
from werkzeug.serving import WSGIRequestHandler, make_server

from beckn.demand_flex.wire import DEMAND_FLEX_DOMAIN
from beckn.network.keys import MessageSigner, own_key
from beckn.network.message_body import signed_body
from beckn.network.reception import Reception
from beckn.network.responses import answered
from beckn.network.subscribers import Registry, Role
from beckn.protocol.acknowledgement import ACK, AckAnswer
from beckn.protocol.objects import Action, Subscriber
from beckn_orders import Market
from grid.half_hours import rfc3339
from server_process import free_port

Json = dict[str, Any]
ANSWER_WITHIN_S = 30.0


def series(start: datetime, **values: list[float]) -> Json:
    """One half-hour after the other, a value of each kind in each."""
    many = len(next(iter(values.values())))
    return {
        "intervalPeriod": {"start": rfc3339(start), "duration": "PT30M"},
        "payloadDescriptors": [
            {"payloadType": kind, "units": "KW" if "CAPACITY" in kind else "GBP_PER_KWH"} for kind in values
        ],
        "intervals": [
            {"id": place, "payloads": [{"type": kind, "values": [of[place]]} for kind, of in values.items()]}
            for place in range(many)
        ],
    }


def wanted_contract(start: datetime, *, offered: list[float] | None = None, **values: list[float]) -> Json:
    """What a buyer sends: a need of 1 MW for two hours at £0.20 a kWh, unless told otherwise."""
    values = {
        "CAPACITY_REQUESTED": [1000.0] * 4,
        "PRICE": [0.2] * 4,
        "SHORTFALL_PENALTY": [0.1] * 4,
    } | values
    commitment: Json = {
        "id": "commitment-1",
        "resources": [{"id": "need-1", "resourceAttributes": {"@type": "DemandFlexNeed", **series(start, **values)}}],
        "offer": {
            "id": "offer-1",
            "offerAttributes": {
                "inputs": [{"role": "buyer", "participantId": "utility-1", "inputs": {"currency": "GBP"}}]
            },
        },
    }
    if offered is not None:
        commitment["commitmentAttributes"] = {"@type": "TimeSeries", **series(start, CAPACITY_OFFERED=offered)}
    return {"commitments": [commitment]}


def context_of(action: Action, shop: Market, buyer: Subscriber, transaction: str, now: datetime) -> Json:
    return {
        "domain": DEMAND_FLEX_DOMAIN,
        "location": {"country": {"code": "GBR"}},
        "action": str(action),
        "version": "1.1.0",
        "bap_id": buyer.subscriber_id,
        "bap_uri": buyer.url,
        "bpp_id": shop.provider.subscriber_id,
        "bpp_uri": shop.provider.url,
        "transaction_id": transaction,
        "message_id": str(uuid4()),
        "timestamp": rfc3339(now),
        "ttl": "PT1H",
    }


@dataclass
class FlexibilityBuyer:
    """Sends signed messages of one transaction, and waits for what comes of them."""

    shop: Market
    own: Subscriber
    signer: MessageSigner
    transaction: str = field(default_factory=lambda: str(uuid4()))
    heard: queue.Queue[Json] = field(default_factory=queue.Queue)

    def post(self, action: Action, message: Any) -> requests.Response:
        """The synchronous answer to a signed message."""
        context = context_of(action, self.shop, self.own, self.transaction, self.shop.clock())
        return self.post_document(action, {"context": context, "message": message})

    def post_document(self, action: Action, document: Any) -> requests.Response:
        body = json.dumps(document).encode()
        now = self.shop.clock()
        signature = self.signer.authorization(body, now=now, expires=now + timedelta(hours=1))
        headers = {"Authorization": signature, "Content-Type": "application/json"}
        return requests.post(f"{self.shop.provider.url}/{action}", data=body, headers=headers, timeout=30)

    def ask(self, action: Action, contract: Json) -> Json:
        """The callback to a request that was acknowledged."""
        answer = self.post(action, {"contract": contract})
        assert answer.status_code == 200, answer.text
        return self.next_told()

    def next_told(self) -> Json:
        return self.heard.get(timeout=ANSWER_WITHIN_S)


@contextmanager
def flexibility_buyer(shop: Market, name: str = "utility.example") -> Iterator[FlexibilityBuyer]:
    """A registered buyer that takes callbacks, which must be signed by the provider, until the end of the block."""
    port = free_port()
    own = Subscriber(name, f"http://127.0.0.1:{port}/beckn")
    key = own_key(shop.settings.pylon_data_dir, name)
    registry = Registry(shop.database)
    registry.add_own(own, Role.BAP, key, domain=DEMAND_FLEX_DOMAIN, now=shop.clock())
    buyer = FlexibilityBuyer(shop, own, MessageSigner(name, key))
    reception = Reception(
        registry, own=own, role=Role.BAP, authenticates=True, clock=shop.clock, domains=(DEMAND_FLEX_DOMAIN,)
    )
    app = Flask("flexibility buyer", static_folder=None)

    @app.post("/beckn/<action>")
    def callback(action: str) -> Response:
        from flask import request

        def take() -> AckAnswer:
            body = signed_body(reception, Action(action))
            reception.check(Action(action), body, request.headers)
            buyer.heard.put(json.loads(body))
            return ACK

        return answered(take)

    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield buyer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: the tests say what matters."""
