"""The gateway's serving half on a real port, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event as Signal

from beckn.network.message_body import LONGEST_CATALOGUE_BYTES
from beckn.network.participant import Participant
from beckn.network.settings import load_network_settings
from beckn.network.subscribers import Role
from BG import create_app, gateway_access
from database.interface import Database
from decisions.publishing.schema import Scorer
from decisions.work.worker import DecisionWorkers
from gateway.callers import CallersParts
from gateway.decision_process import DecidingStatus
from gateway.network import JoinedNetwork
from gateway.serving.feed import BroadcastFeed
from gateway.serving.threads import ThreadedDatabase
from gateway.serving.visits import LOOK_EVERY_S
from grid_world import NOW
from served import Client
from settings import load_settings
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets
from web.serving import listen

DECIDING = DecidingStatus(running=True, scorer=Scorer.DETERMINISTIC, detail="no GEMINI_API_KEY", model=None)


@dataclass
class RunningGateway:
    """A gateway that serves; `deciding` is what it says about the other half."""

    client: Client
    port: int
    feed: BroadcastFeed
    deciding: DecidingStatus = DECIDING

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def post(self, path: str, document: Any = None, **options: Any) -> Any:
        return self.client.post(path, document, **options)


@contextmanager
def running_gateway(
    database: Database,
    *,
    clock: Callable[[], datetime] = lambda: NOW,
    environ: dict[str, str] | None = None,
    keys_dir: Path | None = None,
    patience_s: float = 30,
    workers: DecisionWorkers | None = None,
    gate: Database | None = None,
    look_every_s: float = LOOK_EVERY_S,
    port: int = 0,
    **feed_options: Any,
) -> Iterator[RunningGateway]:
    """A gateway on this database, until the end of the block; `patience_s` is for clients that do not read.

    Requests of tenants go through the `gate`, and who listens is looked at anew every `look_every_s`.
    It joins the Beckn network where there is a `keys_dir` for its key, and tells what `workers` did.
    """
    settings = load_settings(environ or {})
    ready = threading.Event()
    running: list[RunningGateway] = []
    stop: list[Callable[[], None]] = []

    def run() -> None:
        hub = gevent.get_hub()
        stopping = Signal()
        stop.append(lambda: hub.loop.run_callback_threadsafe(stopping.set))
        threaded = ThreadedDatabase(database)
        feed = BroadcastFeed(threaded, **{"poll_seconds": 0.5, **feed_options})
        network = None
        if keys_dir is not None:
            beckn = load_network_settings(settings, environ or {})
            network = JoinedNetwork(
                beckn,
                Participant.join(
                    database,
                    beckn.gateway,
                    Role.BG,
                    data_dir=keys_dir,
                    authenticates=beckn.authenticates,
                    for_requests=threaded,
                ),
            )
        names = [] if network is None else [network.gateway.own.url]
        door = threaded if gate is None else ThreadedDatabase(gate)
        access = gateway_access(database, settings, names, door)
        callers = None
        if settings.is_multi_tenant:
            callers = CallersParts.over(threaded, door, feed, access, look_every_s=look_every_s)
        app = create_app(
            threaded,
            settings,
            feed,
            lambda: running[0].deciding,
            counts=lambda: workers.counter.counts() if workers else None,
            clock=clock,
            network=network,
            access=access,
            callers=callers,
        )
        listener = listen("127.0.0.1", port)
        listens_at = listener.getsockname()[1]
        limits = Limits(
            body_bytes=LONGEST_CATALOGUE_BYTES, head_s=patience_s, idle_s=patience_s, write_s=patience_s, end_s=1
        )
        server = HttpServer(app, for_greenlets(listener), limits)
        access.start()
        feed.start()
        if callers is not None:
            callers.visits.start()
        server.start()
        running.append(RunningGateway(Client(f"http://127.0.0.1:{listens_at}"), listens_at, feed))
        ready.set()
        stopping.wait()
        feed.stop()
        if callers is not None:
            callers.visits.stop()
        server.stop()
        access.stop()
        if door is not threaded:
            door.close()
        threaded.close()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not ready.wait(60):
        raise TimeoutError("the gateway did not start")
    try:
        yield running[0]
    finally:
        running[0].client.close()
        stop[0]()
        thread.join(60)


def workers_on(database: Database, *, clock: Callable[[], datetime] = lambda: NOW) -> DecisionWorkers:
    """Workers that decide without a model, when the test lets them: `work_once`."""
    return DecisionWorkers(
        database,
        agent_id="gateway:test:1",
        clock=clock,
        carbon_price_gbp_per_t=100,
        judge=None,
        workers=1,
        poll_seconds=1,
    )
