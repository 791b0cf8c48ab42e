"""A provider with one valid message of every action, to be changed and sent again, and a gateway before it."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer
from beckn.network.inbox import Inbox
from beckn.protocol.objects import Action
from beckn.provider.answering import Provider
from beckn_orders import Market, a_workload, market, market_time, store_market
from clock import utc_now
from database.interface import Database
from database.interface import OrderBy as By

Json = dict[str, Any]


@dataclass
class Shelf:
    """A market, a buyer, and one valid message of every action."""

    shop: Market
    buyer: Buyer
    messages: dict[Action, Json]

    def post(self, action: Action, document: Any) -> requests.Response:
        """The answer to a signed message."""
        return self.post_bytes(action, json.dumps(document).encode())

    def post_bytes(self, action: Action, body: bytes, *, url: str | None = None) -> requests.Response:
        """The answer to these bytes, signed."""
        now = utc_now()
        signature = self.buyer._signer.authorization(body, now=now, expires=now.replace(year=now.year + 1))
        headers = {"Authorization": signature, "Content-Type": "application/json"}
        return requests.post(f"{url or self.shop.provider.url}/{action}", data=body, headers=headers, timeout=30)

    def answer_everything(self) -> None:
        """Work on all that was acknowledged: every message comes to a callback, at the first attempt."""
        provider = Provider(self.shop.database, self.shop.provider, carbon_price_gbp_per_t=100, clock=utc_now)
        inbox = Inbox(self.shop.database, self.shop.provider.subscriber_id)
        while claims := inbox.claim(50).claimed:
            for claim in claims:
                (callback,) = provider.handle(claim)
                assert callback.context.message_id == str(claim.message_id)
                assert inbox.finish(claim.lease, [callback])

    def fresh(self, action: Action) -> Json:
        """A valid message of this moment that was not sent before."""
        document = copy.deepcopy(self.messages[action])
        document["context"] |= {"message_id": str(uuid4()), "timestamp": utc_now().isoformat()}
        return document


@contextmanager
def stocked(database: Database, folder: Path) -> Iterator[Shelf]:
    """A shelf whose messages were all answered once."""
    store_market(database, market_time())
    with market(database, folder) as shop:
        buyer, deal = shop.buyer(), Transaction(a_workload())
        option, order = shop.ordered(buyer, deal, choose=4)
        assert order.id
        assert option.item.time
        assert option.item.time.range
        assert option.item.time.range.start
        buyer.status(deal, shop.provider, order.id)
        buyer.update(deal, shop.provider, order.id, option.item.time.range.start)
        buyer.cancel(deal, shop.provider, order.id, "DONE")
        rows = database.select("beckn_inbox", order=By(("inbox_id",)))
        shop.platform.workers.stop()
        messages = {Action(row["action"]): json.loads(row["body"]) for row in rows}
        for message in messages.values():
            message["context"]["ttl"] = "PT12H"
        yield Shelf(shop, buyer, messages)


@contextmanager
def no_trace_logged() -> Iterator[None]:
    """Nothing is logged with a traceback in the block, by anybody in this process."""
    traces: list[str] = []

    class Traces(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[0] is not None:
                traces.append(logging.Formatter().format(record))

    handler = Traces()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert traces == []
