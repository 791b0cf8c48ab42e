"""What the MCP server is told by its environment. It reads no `.env`: the client that starts it says what it may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:5000"
DEFAULT_GATEWAY_URL = "http://127.0.0.1:5050"
DEFAULT_WRITES_PER_MINUTE = 10
MOST_WRITES_PER_MINUTE = 1000

_KEY = re.compile(r"[!-~]{8,4096}")
_YES, _NO = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


class AgentSettingsRefused(Exception):
    """A variable is wrong; the message names it and says what it takes. It never holds a key."""


@dataclass(frozen=True)
class AgentSettings:
    """Where the platform is, as whom it is asked over stdio, and whether anything may be changed.

    Attributes:
        api_key: of whoever starts the server over stdio; over HTTP every caller brings its own, and this is not used.
        writes_per_minute: how many changes one credential may ask for, while `allow_writes`.
        authorization_server: whose tokens the platform takes, told to clients over HTTP; None: they are told nothing.
    """

    url: str = DEFAULT_URL
    gateway_url: str = DEFAULT_GATEWAY_URL
    api_key: str | None = field(default=None, repr=False)
    allow_writes: bool = False
    writes_per_minute: int = DEFAULT_WRITES_PER_MINUTE
    authorization_server: str | None = None


def agent_settings(environ: Mapping[str, str]) -> AgentSettings:
    """The settings that the variables say.

    Raises:
        AgentSettingsRefused: one of them is wrong.
    """
    key = environ.get("PYLON_API_KEY", "") or None
    if key is not None and not _KEY.fullmatch(key):
        raise AgentSettingsRefused("PYLON_API_KEY is refused: it takes 8 or more ASCII characters without spaces")
    return AgentSettings(
        url=_url("PYLON_URL", environ.get("PYLON_URL", "") or DEFAULT_URL),
        gateway_url=_url("PYLON_GATEWAY_URL", environ.get("PYLON_GATEWAY_URL", "") or DEFAULT_GATEWAY_URL),
        api_key=key,
        allow_writes=_switch("MCP_ALLOW_WRITES", environ.get("MCP_ALLOW_WRITES", "")),
        writes_per_minute=_count(environ.get("MCP_WRITES_PER_MINUTE", "") or str(DEFAULT_WRITES_PER_MINUTE)),
        authorization_server=_issuer(environ.get("MCP_AUTHORIZATION_SERVER", "")),
    )


def _url(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        whole = False
    if not whole or " " in value or "?" in value or "#" in value:
        raise AgentSettingsRefused(f"{name} is refused: it takes a URL such as {DEFAULT_URL}")
    return value.rstrip("/")


def _issuer(value: str) -> str | None:
    """As it is written: clients compare it with what the issuer says of itself."""
    if value:
        _url("MCP_AUTHORIZATION_SERVER", value)
    return value or None


def _switch(name: str, value: str) -> bool:
    word = value.strip().lower()
    if word not in _YES | _NO:
        raise AgentSettingsRefused(f"{name} is refused: it takes 1 or 0")
    return word in _YES


def _count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MOST_WRITES_PER_MINUTE:
        raise AgentSettingsRefused(
            f"MCP_WRITES_PER_MINUTE is refused: it takes a whole number from 1 to {MOST_WRITES_PER_MINUTE}"
        )
    return int(value)
