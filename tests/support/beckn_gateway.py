"""A gateway as a process of its own, for tests that kill it.

python tests/support/beckn_gateway.py <conninfo> <folder of its keys> <port> threaded | patched

`threaded`: a server of greenlets whose database calls run in threads, with deliverers in threads, as in BG.py.
`patched`: everything in greenlets, by gevent's monkey-patching.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    if sys.argv[4] == "patched":
        from gevent import monkey

        monkey.patch_all()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "backend"))

from gevent.event import Event

from beckn.network.gateway_search import gateway_endpoints
from beckn.network.message_body import LONGEST_CATALOGUE_BYTES
from beckn.network.participant import Participant
from beckn.network.subscribers import Role
from beckn.protocol.objects import Subscriber
from database.interface import Database
from database.postgres import PostgresDatabase
from gateway.serving.threads import ThreadedDatabase
from web.application import make_application
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets
from web.serving import listen, log_to_stderr


def main() -> None:
    """Serve and deliver until killed."""
    conninfo, folder, port, kind = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    log_to_stderr()
    database = PostgresDatabase(conninfo)
    for_requests: Database = ThreadedDatabase(database) if kind == "threaded" else database
    own = Subscriber("gateway.example", f"http://127.0.0.1:{port}/beckn")
    gateway = Participant.join(database, own, Role.BG, data_dir=folder, authenticates=True, for_requests=for_requests)
    app = make_application("gateway", "", "0")
    app.register_api(gateway_endpoints(for_requests, gateway))
    gateway.deliverer.start()
    server = HttpServer(app, for_greenlets(listen("127.0.0.1", port)), Limits(body_bytes=LONGEST_CATALOGUE_BYTES))
    server.start()
    Event().wait()


if __name__ == "__main__":
    main()
