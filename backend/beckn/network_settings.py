"""The settings of the Beckn network, read like all others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beckn.messages import Subscriber
from settings import DOTENV_FILES, HttpUrl, Port, Settings, SettingsError, is_loopback

SUBSCRIBER_ID = r"^[A-Za-z0-9._-]{1,200}$"
_KINDS = {
    "beckn_auth": "takes on or off",
    "bpp_port": "takes a whole number from 1 to 65535",
    "id": "takes a name such as gateway.example.org: letters, digits, dots and dashes",
}


class NetworkSettings(BaseModel):
    """Who this machine's platforms are on the network, by the names of the environment variables in lower case."""

    model_config = ConfigDict(frozen=True)

    beckn_auth: Literal["on", "off"] = "on"
    beckn_bg_id: str = Field("bg.pylon.localhost", pattern=SUBSCRIBER_ID)
    beckn_bg_url: HttpUrl
    bpp_host: str = Field("127.0.0.1", min_length=1)
    bpp_port: Port = 5053
    beckn_bpp_id: str = Field("bpp.pylon.localhost", pattern=SUBSCRIBER_ID)
    beckn_bpp_url: HttpUrl
    beckn_bap_id: str = Field("bap.pylon.localhost", pattern=SUBSCRIBER_ID)
    beckn_bap_url: HttpUrl = "http://127.0.0.1:5052/beckn"

    @property
    def authenticates(self) -> bool:
        """Whether messages are signed, and signatures checked."""
        return self.beckn_auth == "on"

    @property
    def gateway(self) -> Subscriber:
        return Subscriber(self.beckn_bg_id, self.beckn_bg_url)

    @property
    def provider(self) -> Subscriber:
        return Subscriber(self.beckn_bpp_id, self.beckn_bpp_url)

    @property
    def buyer(self) -> Subscriber:
        return Subscriber(self.beckn_bap_id, self.beckn_bap_url)


def load_network_settings(settings: Settings, environ: Mapping[str, str] | None = None) -> NetworkSettings:
    """The network's settings from `environ`, or from the process environment and the `.env` files when it is None.

    Raises:
        SettingsError: a value is wrong, two processes share an id, or BECKN_AUTH=off could be reached from outside.
    """
    values = _from_files_and_process() if environ is None else environ
    known = {
        name: values[name.upper()] for name in NetworkSettings.model_fields if values.get(name.upper(), "") != ""
    }
    known.setdefault("beckn_bg_url", _url(settings.bg_host, str(settings.bg_port)))
    known.setdefault("beckn_bpp_url", _url(known.get("bpp_host", "127.0.0.1"), known.get("bpp_port", "5053")))
    try:
        network = NetworkSettings.model_validate(known)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None
    _check_together(settings, network)
    return network


def _url(host: str, port: str) -> str:
    return f"http://[{host}]:{port}/beckn" if ":" in host.strip("[]") else f"http://{host}:{port}/beckn"


def _from_files_and_process() -> Mapping[str, str]:
    merged: dict[str, str] = {}
    for file in reversed(DOTENV_FILES):
        merged.update({name: value for name, value in dotenv_values(file).items() if value is not None})
    merged.update(os.environ)
    return merged


def _check_together(settings: Settings, network: NetworkSettings) -> None:
    ids = [network.beckn_bg_id, network.beckn_bpp_id, network.beckn_bap_id]
    if len(set(ids)) < len(ids):
        raise SettingsError("BECKN_BG_ID, BECKN_BPP_ID and BECKN_BAP_ID must differ: they are three platforms")
    if network.authenticates:
        return
    for name, host in (
        ("API_HOST", settings.api_host),
        ("BG_HOST", settings.bg_host),
        ("BPP_HOST", network.bpp_host),
        *((f"BECKN_{each}_URL", _host(network, each)) for each in ("BG", "BPP", "BAP")),
    ):
        if not is_loopback(host):
            raise SettingsError(
                f"BECKN_AUTH=off is refused: {name} is {host}, and without signatures nothing but this machine may "
                "be on the network; set BECKN_AUTH=on, or take 127.0.0.1"
            )


def _host(network: NetworkSettings, platform: str) -> str:
    return urlsplit(getattr(network, f"beckn_{platform.lower()}_url")).hostname or ""


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    takes = _KINDS.get(name) or (_KINDS["id"] if name.endswith("_id") else str(first["msg"]))
    return f"{name.upper()}={first['input']!r} is refused: it {takes}"
