"""A provider's platform and buyers for tests: real HTTP on loopback, real signatures, a clock that tests may move."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from beckn.buying.messages import BuyerWorkload, Option, Transaction
from beckn.buying.platform import Buyer
from beckn.network.gateway_search import gateway_endpoints
from beckn.network.keys import MessageSigner, own_key
from beckn.network.participant import Participant
from beckn.network.settings import NetworkSettings, load_network_settings
from beckn.network.subscribers import Registry, Role
from beckn.protocol.objects import DOMAIN, Action, Subscriber
from beckn.provider.messages_order import Billing, Order
from beckn.provider.order_limits import BuyerLimits
from clock import utc_now
from database.interface import Database, Row, Where
from database.interface import OrderBy as By
from grid.half_hours import half_hour_of
from grid_world import data_centre, store_data_centres, store_grid
from provider_application import ProviderPlatform
from server_process import free_port
from settings import Settings, load_settings
from version import VERSION
from web.application import make_application

BILLING = Billing(name="Test tenant", email="ops@tenant.example")


LONGEST_TEST = timedelta(seconds=10)


def market_time() -> datetime:
    """The present, when a whole test has room before the half-hour ends, for its slot is sold no longer."""
    if half_hour_of(utc_now() + LONGEST_TEST) != half_hour_of(utc_now()):
        time.sleep(LONGEST_TEST.total_seconds())
    return utc_now()


class Clock:
    """The present, moved by what a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


def a_workload(**changes: Any) -> BuyerWorkload:
    """A minute of one GPU."""
    facts = {
        "job_id": "job-1",
        "workload_type": "RAG_QUERY",
        "urgency": "LOW",
        "required_gpu_mins": 1,
        "deferral_window_mins": 240,
        **changes,
    }
    return BuyerWorkload.model_validate(facts)


def store_market(database: Database, now: datetime, *, centres: Sequence[Row] | None = None, **grid: Any) -> None:
    """48 hours of grid and two data centres of one operator."""
    store_grid(database, now, **grid)
    database.call(
        "store_world",
        {
            "p_batch": {
                "operators": [
                    {"operator_id": "op-a", "name": "Operator A", "operator_type": "COLOCATION", "is_synthetic": True}
                ]
            },
            "p_slot": now,
        },
    )
    store_data_centres(database, centres or [data_centre(number, operator="op-a") for number in (1, 2)], now)


@dataclass
class Market:
    """A running provider and as many buyers as a test wants."""

    database: Database
    settings: Settings
    network: NetworkSettings
    platform: ProviderPlatform
    clock: Clock
    stack: ExitStack

    @property
    def provider(self) -> Subscriber:
        return self.network.provider

    def buyer(self, name: str = "buyer.example", *, listens: bool = True) -> Buyer:
        """A registered buyer that takes callbacks until the end of the test."""
        port = free_port()
        own = Subscriber(name, f"http://127.0.0.1:{port}/beckn")
        key = own_key(self.settings.pylon_data_dir, name)
        registry = Registry(self.database)
        registry.add_own(own, Role.BAP, key, domain=DOMAIN, now=self.clock())
        signer = MessageSigner(name, key)
        buyer = Buyer(own, signer, registry, authenticates=self.network.authenticates, clock=self.clock)
        if listens:
            self.stack.enter_context(buyer.listening("127.0.0.1", port))
        return buyer

    def gateway_url(self) -> str:
        """A gateway that passes searches on until the end of the test."""
        port = free_port()
        own = Subscriber("gateway.example", f"http://127.0.0.1:{port}/beckn")
        gateway = Participant.join(
            self.database, own, Role.BG, data_dir=self.settings.pylon_data_dir, authenticates=True, clock=self.clock
        )
        app = make_application("Gateway", "", VERSION)
        app.register_api(gateway_endpoints(self.database, gateway))
        self.stack.enter_context(_served(app, port))
        gateway.deliverer.start()
        self.stack.callback(gateway.deliverer.stop)
        return own.url

    def options(self, buyer: Buyer, deal: Transaction, page: int | None = None) -> list[Option]:
        options, _ = buyer.options(buyer.search(deal, self.provider.url, page=page))
        return options

    def ordered(self, buyer: Buyer, deal: Transaction, choose: int = 0) -> tuple[Option, Order]:
        """Search, select, init, confirm."""
        option = self.options(buyer, deal)[choose]
        buyer.select(deal, option)
        return option, buyer.confirm(deal, option, buyer.init(deal, option, BILLING))


@contextmanager
def market(
    database: Database, folder: Path, *, start: bool = True, limits: BuyerLimits | None = None, **environment: str
) -> Iterator[Market]:
    """A provider's platform on loopback over `database`, its executor left to the test."""
    port = free_port()
    environ = {"PYLON_DATA_DIR": str(folder), "BPP_PORT": str(port), **environment}
    settings = load_settings(environ)
    network = load_network_settings(settings, environ)
    clock = Clock()
    platform = ProviderPlatform(database, settings, network, clock=clock, limits=limits)
    with ExitStack() as stack:
        stack.enter_context(_served(platform.app, port))
        if start:
            platform.deliverer.start()
            platform.workers.start()
            stack.callback(platform.deliverer.stop)
            stack.callback(platform.workers.stop)
        yield Market(database, settings, network, platform, clock, stack)


@contextmanager
def _served(app: Flask, port: int) -> Iterator[None]:
    """`app` on a port that is known beforehand, as it is registered under it."""
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: the tests say what matters."""


def outbox(database: Database, action: Action) -> list[Row]:
    """What was put into the outbox of an action."""
    return database.select("beckn_outbox", where=[Where("action", str(action))], order=By(("outbox_id",)))
