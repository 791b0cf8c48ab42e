"""What `BPP.py` serves: the provider's platform, its answers to buyers, and the executor of their orders.

It is loaded in the serving process alone: the one that watches over it needs none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from flask_openapi3.openapi import OpenAPI

from beckn.demand_flex.telling import BuyersTold
from beckn.demand_flex.wire import DEMAND_FLEX_DOMAIN
from beckn.network.health import network_health
from beckn.network.inbox_workers import InboxWorkers
from beckn.network.metrics import network_figures
from beckn.network.participant import Participant
from beckn.network.settings import NetworkSettings, load_network_settings
from beckn.network.subscribers import Role
from beckn.provider.answering import Provider
from beckn.provider.endpoints import provider_endpoint_names, provider_endpoints
from beckn.provider.order_limits import BuyerLimits
from beckn.provider.order_runs import executor_of_orders
from beckn.provider.service import provider_service_endpoints
from clock import utc_now
from database.data_disk import data_disk_troubles
from database.interface import Database
from database.opening import open_database
from queueing.process_name import process_name
from settings import Settings, load_settings
from tenancy.access import Access
from tenancy.scopes import ENDPOINTS, Server
from version import VERSION
from web.application import make_application
from web.metrics import DatabaseFigures, serve_metrics

log = logging.getLogger("BPP")

DESCRIPTION = """Sells compute slots in data centres over Beckn 1.1: search, select, init, confirm, status, update and
cancel, each answered by a signed callback. Orders run in a simulation over the half-hours of the real grid."""


class ProviderPlatform:
    """The platform over an open database: endpoints, workers, delivery, and the executor of orders."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        network: NetworkSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        limits: BuyerLimits | None = None,
    ) -> None:
        """`limits` are each buyer's. Registers the platform with its key; no thread is started.

        Raises:
            KeyUnusable: its key cannot be read or made.
            SubscriptionRefused: its key was revoked.
            DatabaseError: the database does not answer.
        """
        own = network.provider
        participant = Participant.join(
            database,
            own,
            Role.BPP,
            also_takes=(DEMAND_FLEX_DOMAIN,),
            data_dir=settings.pylon_data_dir,
            authenticates=network.authenticates,
            clock=clock,
        )
        self.deliverer = participant.deliverer
        self.presence = participant.presence
        self._participant = participant
        self.executor = executor_of_orders(
            database,
            own,
            worker=process_name(),
            carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t,
            clock=clock,
            stored=self.deliverer.wake,
        )
        provider = Provider(
            database, own, carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t, clock=clock, limits=limits
        )
        self.teller = BuyersTold(database, own, clock=clock, stored=self.deliverer.wake)
        self.workers = InboxWorkers(database, participant.inbox, provider.handle, finished=self._answered)
        self.access = Access(
            settings,
            ENDPOINTS[Server.PROVIDER],
            database,
            host=network.bpp_host,
            own_names=[own.url],
            clock=clock,
        )
        self.app = make_application(
            "Pylon DEG provider",
            DESCRIPTION,
            VERSION,
            asks_for=self.access.asks_for(),
            open_endpoints=provider_endpoint_names(),
            own_names=[network.bpp_host, own.url],
            allowed_origins=settings.allowed_origins,
        )
        self.app.register_api(
            provider_service_endpoints(
                database, network, clock, lambda: [*data_disk_troubles(settings), *self.troubles()]
            )
        )
        self.app.register_api(provider_endpoints(participant, clock, self.workers.wake))
        queues = DatabaseFigures(lambda: network_figures(network_health(database, network)))
        self.access.guard(self.app)
        serve_metrics(self.app, queues)

    def start(self) -> None:
        """Begin to answer, to deliver and to run orders."""
        for part in (self.access, self.deliverer, self.workers, self.teller, self.executor, self.presence):
            part.start()

    def stop(self) -> None:
        """Finish what is in hand, and end; whatever is left is in the database."""
        for working in (self.executor, self.teller, self.workers, self.deliverer):
            working.ask_to_stop()  # each first, so that none waits until another has ended
        for part in (self.presence, self.executor, self.teller, self.workers, self.deliverer, self.access):
            part.stop()

    def troubles(self) -> list[str]:
        """What is wrong with its threads, in words; empty when nothing is."""
        return [
            *self._participant.troubles(),
            *self.workers.troubles(),
            *self.teller.troubles(),
            *self.executor.troubles(),
            *self.access.troubles(),
        ]

    def _answered(self) -> None:
        self.deliverer.wake()
        self.executor.wake()
        self.teller.wake()


@contextmanager
def application() -> Iterator[OpenAPI]:
    """The running platform, made in the process that serves it and stopped there."""
    settings = load_settings()
    network = load_network_settings(settings)
    with closing(open_database(settings)) as database:
        platform = ProviderPlatform(database, settings, network)
        try:
            platform.start()
            log.info("listening on http://%s:%d (documentation: /docs)", network.bpp_host, network.bpp_port)
            yield platform.app
        finally:
            platform.stop()
