"""Where a browser finds the gateway, whose stream tells a page what happens."""

from __future__ import annotations

from urllib.parse import urlsplit

from settings import is_loopback

_ANY_ADDRESS = {"0.0.0.0", "::", "[::]"}  # noqa: S104 - compared with, not listened on


class GatewayAddress:
    """The gateway as the settings have it, on the host by which the page itself was called where that may be."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def origin(self, page_host: str) -> str:
        """`http://localhost:5050` for a page called at `localhost:5000`."""
        host = self._host
        if host in _ANY_ADDRESS or is_loopback(host):
            # By the same name, so that both are of one site to the browser.
            host = urlsplit(f"//{page_host}").hostname or host
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self._port}"
