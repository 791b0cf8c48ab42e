"""Process 2: decides every workload, and serves the published decisions on port 5050.

python backend/BG.py      (or, in backend/, python BG.py)
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

import gevent
from flask_openapi3.openapi import OpenAPI
from gevent.event import Event as Signal

from beckn.network import gateway_search, registry_lookup
from beckn.network.keys import KeyUnusable
from beckn.network.message_body import LONGEST_CATALOGUE_BYTES
from beckn.network.participant import Participant
from beckn.network.settings import NetworkSettings, load_network_settings
from beckn.network.subscribers import Role, SubscriptionRefused
from clock import utc_now
from database.callers import CallersCalls
from database.data_disk import data_disk_troubles
from database.errors import DatabaseError
from database.interface import Database
from database.opening import open_database, open_gate
from decisions.publishing.store import PublishedDecisions
from decisions.work.agent import gateway_agent_id
from decisions.work.counts import DecisionCounts
from decisions.work.notifications import WorkQueue
from decisions.work.worker import LEASE_SECONDS
from gateway.callers import CallersParts
from gateway.decision_process import DecidingProcess, DecidingStatus
from gateway.endpoints.broadcast import broadcast_endpoints
from gateway.endpoints.catalogue import catalogue_endpoints
from gateway.endpoints.context import context_endpoints
from gateway.endpoints.dead_notifications import dead_notification_endpoints
from gateway.endpoints.health import GatewayHealth, StreamState, read_gateway_health
from gateway.endpoints.metrics import DecisionFigures, gateway_figures
from gateway.endpoints.outputs import output_endpoints
from gateway.endpoints.service import service_endpoints
from gateway.endpoints.stream import stream_endpoints
from gateway.network import JoinedNetwork
from gateway.serving.feed import BroadcastFeed
from gateway.serving.ready_responses import NewestOutputs, ReadyAnswers
from gateway.serving.threads import RequestDatabase, ThreadedDatabase
from gateway.serving.visits import OpenHouse, Visits
from settings import Settings, SettingsError, load_settings
from tenancy.access import Access
from tenancy.guard import caller_of, calling
from tenancy.scopes import ENDPOINTS, Server
from version import VERSION
from web.application import make_application
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets, most_connections
from web.metrics import serve_metrics
from web.serving import CannotListen, check_port, listen, run_until_stopped

log = logging.getLogger("BG")

MOST_CONNECTIONS = 6000
MOST_REQUESTS = 1024

DESCRIPTION = """Publishes one decision for every compute workload, with an option for each data centre, as
server-sent events, by polling, and in Beckn's words."""


def create_app(
    database: ThreadedDatabase,
    settings: Settings,
    feed: BroadcastFeed,
    deciding: Callable[[], DecidingStatus],
    *,
    counts: Callable[[], DecisionCounts | None] = lambda: None,
    clock: Callable[[], datetime] = utc_now,
    network: JoinedNetwork | None = None,
    access: Access | None = None,
    callers: CallersParts | None = None,
) -> OpenAPI:
    """The gateway's endpoints over an open database. Starts nothing; `deciding` and `counts` are only reported.

    Args:
        network: the Beckn network that the gateway joined; without it there is no search and no registry.
        access: who may ask for what, running; by default as the settings say, and not running.
        callers: what requests of several tenants are answered with, running; by default not running.
    """
    own_names = [] if network is None else [network.gateway.own.url]
    if access is None:
        access = gateway_access(database, settings, own_names)
    if callers is None and settings.is_multi_tenant:
        callers = CallersParts.over(database, database, feed, access)
    requests: RequestDatabase = database if callers is None else callers.database
    visits: Visits = OpenHouse(feed) if callers is None else callers.visits
    published = PublishedDecisions(requests)
    agent_id = gateway_agent_id(settings.bg_port)
    queue = WorkQueue(database, agent_id, lease_seconds=LEASE_SECONDS)
    short_calls = requests.short_calls()
    outputs = NewestOutputs(
        PublishedDecisions(short_calls), to_callers=short_calls if isinstance(short_calls, CallersCalls) else None
    )

    def read_health() -> GatewayHealth:
        streams = StreamState(
            clients=feed.streams,
            newest_event=feed.newest,
            following=feed.following,
            troubles=[*feed.troubles(), *access.troubles(), *([] if callers is None else callers.visits.troubles())],
        )
        return read_gateway_health(
            database,
            queue,
            deciding(),
            streams,
            network=None if network is None else network.settings,
            troubles=[*data_disk_troubles(settings), *([] if network is None else network.gateway.troubles())],
            now=clock(),
            version=VERSION,
        )

    app = make_application(
        "Pylon DEG gateway",
        DESCRIPTION,
        VERSION,
        asks_for=access.asks_for(),
        # Signed by those who send them.
        open_endpoints=[*gateway_search.OPEN_ENDPOINTS, *registry_lookup.OPEN_ENDPOINTS],
        own_names=[settings.bg_host, *own_names],
        allowed_origins=settings.allowed_origins,
        pause=lambda: gevent.sleep(0),
    )
    ready = ReadyAnswers(app.wsgi_app, outputs, caller_of) if callers else ReadyAnswers(app.wsgi_app, outputs)
    app.register_api(service_endpoints(clock, deciding, read_health))
    app.register_api(catalogue_endpoints(requests, clock))
    app.register_api(broadcast_endpoints(published, feed, visits, lambda: access.tickets.issue(calling())))
    app.register_blueprint(
        stream_endpoints(feed, visits, access, pages={*settings.allowed_origins, *settings.origins_of_dashboard()})
    )
    app.register_api(context_endpoints(published))
    app.register_api(output_endpoints(published, outputs, ready))
    callers_queue = WorkQueue(requests, agent_id, lease_seconds=LEASE_SECONDS)
    app.register_api(dead_notification_endpoints(requests, callers_queue))
    if network is not None:
        app.register_api(gateway_search.gateway_endpoints(requests, network.gateway))
        app.register_api(
            registry_lookup.registry_endpoints(
                network.gateway.registry,
                network.gateway.reception,
                authenticates=network.settings.authenticates,
                clock=clock,
            )
        )
    app.wsgi_app = ready  # type: ignore[method-assign]
    access.guard(app)
    serve_metrics(app, gateway_figures(read_health), DecisionFigures(counts))
    return app


def gateway_access(
    database: Database, settings: Settings, own_names: Collection[str], door: Database | None = None
) -> Access:
    """Who may ask the gateway for what; `door` may be called by greenlets."""
    needs = ENDPOINTS[Server.GATEWAY]
    return Access(
        settings,
        needs,
        database,
        host=settings.bg_host,
        own_names=own_names,
        door=door,
        reading_origins=settings.origins_of_dashboard(),
    )


def gateway_limits() -> Limits:
    """What the gateway takes from its clients: streams, and the catalogues of providers, which are longer."""
    return Limits(
        connections=most_connections(MOST_CONNECTIONS), requests=MOST_REQUESTS, body_bytes=LONGEST_CATALOGUE_BYTES
    )


def serve(database: Database, settings: Settings, network: NetworkSettings) -> None:
    """Decide, relay and serve until Ctrl-C or SIGTERM.

    Raises:
        CannotListen: the port is taken.
        DatabaseError: the database does not answer.
        KeyUnusable, SubscriptionRefused: the gateway cannot join the Beckn network.
    """
    stopping = Signal()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopping.set)
    deciding = DecidingProcess()
    with closing(ThreadedDatabase(database)) as threaded, _door(settings, database, threaded) as door:
        feed = BroadcastFeed(threaded, poll_seconds=settings.bg_poll_seconds)
        beckn = Participant.join(
            database,
            network.gateway,
            Role.BG,
            data_dir=settings.pylon_data_dir,
            authenticates=network.authenticates,
            for_requests=threaded,
        )
        access = gateway_access(database, settings, [beckn.own.url], door)
        callers = CallersParts.over(threaded, door, feed, access) if settings.is_multi_tenant else None
        app = create_app(
            threaded,
            settings,
            feed,
            deciding.status,
            counts=deciding.counts,
            network=JoinedNetwork(network, beckn),
            access=access,
            callers=callers,
        )
        access.start()
        feed.start()
        if callers is not None:
            callers.visits.start()
        listener = for_greenlets(listen(settings.bg_host, settings.bg_port))
        server = HttpServer(app, listener, gateway_limits())
        server.start()
        deciding.start()
        beckn.deliverer.start()
        beckn.presence.start()
        log.info("listening on http://%s:%d (documentation: /docs)", settings.bg_host, settings.bg_port)
        stopping.wait()
        beckn.presence.stop()
        deciding.ask_to_stop()
        feed.stop()
        if callers is not None:
            callers.visits.stop()
        server.stop()
        beckn.deliverer.stop()
        access.stop()
        deciding.stop()


@contextmanager
def _door(settings: Settings, database: Database, threaded: ThreadedDatabase) -> Iterator[ThreadedDatabase]:
    """The database as requests of tenants reach it, for greenlets; with one tenant, as all do."""
    if not settings.is_multi_tenant:
        yield threaded
        return
    with closing(open_gate(settings, database)) as gate, closing(ThreadedDatabase(gate)) as door:
        yield door


def _run() -> None:
    """The gateway over the database of the settings."""
    settings = load_settings()
    network = load_network_settings(settings)
    check_port(settings.bg_host, settings.bg_port)
    with closing(open_database(settings)) as database:
        serve(database, settings, network)


def main() -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit status."""
    return run_until_stopped(
        "BG", _run, (SettingsError, CannotListen, DatabaseError, KeyUnusable, SubscriptionRefused)
    )


if __name__ == "__main__":
    sys.exit(main())
