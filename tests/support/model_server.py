"""A stand-in for the Gemini API on loopback: answers well by default, or as badly as a test asks for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]

MODEL_VERSION = "gemini-3.8-flash-stand-in"


@dataclass(frozen=True)
class ModelRequest:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: Json

    @property
    def texts(self) -> list[str]:
        return [part["text"] for content in self.body["contents"] for part in content["parts"]]

    @property
    def data(self) -> Json:
        """The data of the question."""
        data: Json = json.loads(self.texts[0])
        return data

    @property
    def dc_ids(self) -> list[str]:
        column = self.data["columns"].index("dc_id")
        return [row[column] for row in self.data["options"]]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. `wait_s` passes before it, `byte_pause_s` between its bytes; `hang_up` sends nothing."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0
    byte_pause_s: float = 0
    hang_up: bool = False


def answer(text: str, *, finish_reason: str = "STOP", **options: Any) -> Reply:
    """A well-formed response of the API whose text is `text`."""
    document = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish_reason, "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 700, "candidatesTokenCount": 90, "thoughtsTokenCount": 30},
        "modelVersion": MODEL_VERSION,
    }
    return Reply(body=json.dumps(document).encode(), **options)


def judgements(scores: dict[str, Any]) -> str:
    """An answer's text with a score and a sentence for each data centre."""
    options = [
        {"dc_id": dc_id, "score": score, "sentence": f"{dc_id} is worth {score}."} for dc_id, score in scores.items()
    ]
    return json.dumps({"options": options})


def good(request: ModelRequest) -> Reply:
    """Every data centre scores 60."""
    return answer(judgements(dict.fromkeys(request.dc_ids, 60)))


def error(status: int, reason: str = "UNAVAILABLE", *, retry_delay: str | None = None) -> Reply:
    """An error as the API words it."""
    details: list[Json] = []
    if retry_delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay})
    document = {"error": {"code": status, "status": reason, "message": "no", "details": details}}
    return Reply(status=status, body=json.dumps(document).encode())


HTML = Reply(body=b"<!doctype html><title>Sign in</title>", content_type="text/html")

Answering = Reply | Callable[[ModelRequest], Reply]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


@dataclass
class ModelServer:
    """Gives the scripted replies in turn, then good ones. Use as a context manager."""

    script: list[Answering] = field(default_factory=list)
    then: Answering = good
    requests: list[ModelRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def replies(self, *replies: Answering) -> None:
        with self._lock:
            self.script.extend(replies)

    def _next(self, request: ModelRequest) -> Reply:
        with self._lock:
            self.requests.append(request)
            chosen = self.script.pop(0) if self.script else self.then
        return chosen if isinstance(chosen, Reply) else chosen(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server._next(ModelRequest(self.path, headers, body))
                time.sleep(reply.wait_s)
                if reply.hang_up:
                    self.close_connection = True
                    return
                self._send(reply)

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                pieces: Sequence[bytes] = [reply.body]
                if reply.byte_pause_s:
                    pieces = [reply.body[i : i + 1] for i in range(len(reply.body))]
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(reply.byte_pause_s)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
