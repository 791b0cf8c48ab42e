"""Where a client hears webhooks: nothing but Python's own library, for it runs in the client's environment."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 60.0


class Heard:
    """What came, in its order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queue: queue.Queue[tuple[str | None, dict[str, Any]]] = queue.Queue()

    def next(self, token: str) -> dict[str, Any]:
        """The next notification, which came with this token."""
        authorization, document = self.queue.get(timeout=PATIENCE_S)
        assert authorization == f"Bearer {token}", authorization
        return document

    def next_of_any(self) -> dict[str, Any]:
        """The next, of whichever subscription."""
        return self.queue.get(timeout=PATIENCE_S)[1]


@contextmanager
def receiving() -> Iterator[Heard]:
    """A receiver on this machine, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.queue.put((self.headers.get("Authorization"), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard = Heard(f"http://127.0.0.1:{server.server_address[1]}/webhooks")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
