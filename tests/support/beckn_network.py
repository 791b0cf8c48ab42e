"""A network on loopback: platforms with real keys, registered in a real database, that answer over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from beckn.catalogue.compute_offers import SLOTS_OFFERED, compute_offers
from beckn.network.keys import MessageSigner, OwnKey
from beckn.network.subscribers import Place, Registry, Role, Subscription, Territory
from beckn.protocol.acknowledgement import ACK
from beckn.protocol.objects import DOMAIN, Action, Subscriber
from beckn.protocol.signing import SigningKey
from clock import utc_now
from database.interface import Database, Where
from decision_contexts import NOON, centre, context_json, task
from decisions.scoring.grid_context import GridContext
from grid.half_hours import rfc3339

ACKNOWLEDGED = ACK.model_dump_json().encode()
NACKED = b'{"message": {"ack": {"status": "NACK"}}, "error": {"code": "40001", "message": "not now"}}'


@dataclass
class Party:
    """A platform as the tests play it: an id, a URL and a key."""

    role: Role
    subscriber_id: str
    url: str
    signer: MessageSigner = field(init=False)

    def __post_init__(self) -> None:
        self.signer = MessageSigner(self.subscriber_id, OwnKey(str(uuid4()), SigningKey.generate()))

    @property
    def subscriber(self) -> Subscriber:
        return Subscriber(self.subscriber_id, self.url)

    def subscription(self, **changes: Any) -> Subscription:
        """What the registry is told of it."""
        now = utc_now()
        fields: dict[str, Any] = {
            "subscriber_id": self.subscriber_id,
            "url": self.url,
            "type": self.role,
            "domain": DOMAIN,
            "location": Territory(country=Place(code="GBR"), city=Place(code="*")),
            "key_id": self.signer.key.key_id,
            "signing_public_key": self.signer.key.signing.public_key,
            "valid_from": now - timedelta(hours=1),
            "valid_until": now + timedelta(days=1),
            "private_address": True,
        }
        return Subscription(**(fields | changes))

    def register(self, database: Database, **changes: Any) -> None:
        Registry(database).add(self.subscription(**changes))

    def headers(self, body: bytes, *, now: datetime | None = None, lasts_s: float = 30) -> dict[str, str]:
        """The headers of a message it sends."""
        now = now or utc_now()
        signature = self.signer.authorization(body, now=now, expires=now + timedelta(seconds=lasts_s))
        return {"Authorization": signature, "Content-Type": "application/json"}


def buyer(url: str = "http://127.0.0.1:5052/beckn", subscriber_id: str = "buyer.example") -> Party:
    return Party(Role.BAP, subscriber_id, url)


def provider(url: str = "http://127.0.0.1:5053/beckn", subscriber_id: str = "provider.example") -> Party:
    return Party(Role.BPP, subscriber_id, url)


def gateway(url: str = "http://127.0.0.1:5050/beckn", subscriber_id: str = "gateway.example") -> Party:
    return Party(Role.BG, subscriber_id, url)


def a_message(
    action: Action,
    bap: Party,
    bpp: Party | None = None,
    *,
    message: Any = None,
    now: datetime | None = None,
    ttl: str = "PT30S",
    **context: Any,
) -> dict[str, Any]:
    """A whole message, with ids of its own unless they are given."""
    fields: dict[str, Any] = {
        "domain": DOMAIN,
        "location": {"country": {"code": "GBR"}, "city": {"code": "*"}},
        "action": str(action),
        "version": "1.1.0",
        "bap_id": bap.subscriber_id,
        "bap_uri": bap.url,
        "transaction_id": str(uuid4()),
        "message_id": str(uuid4()),
        "timestamp": rfc3339(now or utc_now()),
        "ttl": ttl,
    }
    if bpp is not None:
        fields |= {"bpp_id": bpp.subscriber_id, "bpp_uri": bpp.url}
    return {"context": fields | context, "message": message if message is not None else {"intent": {}}}


def a_catalogue(items: int) -> dict[str, Any]:
    """The message of an `on_search` with so many items, four to a data centre, as large as ours are."""
    grid = context_json(
        task=task(),
        price=[90.0] * SLOTS_OFFERED,
        carbon={13: [200.0] * SLOTS_OFFERED},
        centres=[centre(f"DC-{number:04d}", operator="OP-A") for number in range(-(-items // SLOTS_OFFERED))],
    )
    catalog: dict[str, Any] = compute_offers(GridContext.model_validate(grid), now=NOON).model_dump(mode="json")
    catalog["providers"][0]["items"] = catalog["providers"][0]["items"][:items]
    return {"catalog": catalog}


def in_bytes(document: Any) -> bytes:
    """With spaces where no program would put any, so that a body that is written again is another."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Arrival:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """A platform's HTTP server on loopback, which can be down, and answers what it is told to."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answer: Callable[[Arrival], tuple[int, bytes]] = lambda _: (200, ACKNOWLEDGED)
        self.headers: dict[str, str] = {}
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0
        self.up()
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/beckn"

    def up(self) -> None:
        """Listen, on the same port as before."""
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                arrival = Arrival(self.path, dict(self.headers.items()), self.rfile.read(length))
                status, answer = peer.answer(arrival)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **peer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
                with peer._changed:
                    peer.arrivals.append(arrival)
                    peer._changed.notify_all()

            def log_message(self, *_: object) -> None:
                """Nothing: the tests say what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def wait_for(self, count: int, within_s: float = 20) -> list[Arrival]:
        """The arrivals, once there are `count`."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.arrivals) >= count, within_s), (
                f"{len(self.arrivals)} of {count} messages arrived"
            )
            return list(self.arrivals)


@contextmanager
def peer(*, listening: bool = True) -> Iterator[Peer]:
    """A peer for the length of the block."""
    made = Peer()
    if listening:
        made.up()
    try:
        yield made
    finally:
        made.down()


def let_leases_end(database: Database) -> None:
    """Let the time pass for which a process that was killed holds what it had in hand."""
    for table in ("beckn_inbox", "beckn_outbox"):
        past = utc_now() - timedelta(seconds=1)
        database.update(table, {"leased_until": past}, where=[Where("work_state", "running")])


def eventually(condition: Callable[[], Any], within_s: float = 20) -> Any:
    """What `condition` answers, once that is true."""
    give_up_at = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it did not come true in time"
        time.sleep(0.02)
    return found
