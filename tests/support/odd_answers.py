"""An HTTP server on loopback that answers whatever a test says, byte for byte."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><title>project | A timeout occurred</title></html>"


@dataclass
class OddAnswers:
    """What the server says next, and how often it was asked. `byte_every_s` lets the answer trickle, head and all."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b"[]"
    byte_every_s: float = 0.0
    asked: int = 0
    port: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def whole(self) -> bytes:
        head = f"HTTP/1.1 {self.status} Odd\r\nContent-Type: {self.content_type}\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@contextmanager
def odd_answers() -> Iterator[OddAnswers]:
    """The server, until the end of the block."""
    said = OddAnswers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said.asked += 1
            with suppress(OSError):
                if not said.byte_every_s:
                    self.wfile.write(said.whole())
                for byte in said.whole() if said.byte_every_s else b"":
                    if said.stopping.wait(said.byte_every_s):
                        return
                    self.wfile.write(bytes([byte]))

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    said.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        said.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
