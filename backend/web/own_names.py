"""Names under which a server is known that only this machine reaches.

Where no key guards it, being out of reach is all the protection that a server on loopback has. A page in a browser of
this machine gets around that with a name of its own that leads here (DNS rebinding): to the browser it then is the
same site. Its requests still say that name in Host, and in Origin.

A name without a dot is taken for one of this machine or its network, such as a container's: strangers cannot have
one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

LOCALHOST = "localhost"

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
_LABEL = re.compile(r"(?=.*[a-z])[a-z0-9_-]{1,63}")


class OwnNames:
    """This machine's names: localhost, its addresses on loopback, its host name, and those of the settings."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        """`configured`: hosts, or URLs with them."""
        hosts = (urlsplit(name).hostname if "://" in name else name for name in configured)
        self._names = frozenset(map(_canonical, filter(None, [*hosts, socket.gethostname()])))

    def includes_host(self, host_header: str) -> bool:
        """Whether a Host header, with or without a port, names this machine."""
        found = _HOST_AND_PORT.fullmatch(host_header)
        return found is not None and self._includes(_canonical(found[1]))

    def includes_origin(self, origin: str) -> bool:
        """Whether an Origin header is that of a page of this machine; `null` is not."""
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in {"http", "https"} and self.includes_host(host)

    def _includes(self, name: str) -> bool:
        if name in self._names or name == LOCALHOST or name.endswith(f".{LOCALHOST}"):
            return True
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return _LABEL.fullmatch(name) is not None


def _canonical(name: str) -> str:
    return name.lower().removesuffix(".")
