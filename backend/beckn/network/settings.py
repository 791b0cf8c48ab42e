"""The settings of the Beckn network: who this machine's platforms are, and whether messages are signed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from beckn.protocol.objects import Subscriber
from settings import (
    HttpUrl,
    Port,
    Settings,
    SettingsError,
    check_reachability,
    is_loopback,
    read_settings,
    refused,
    set_variables,
)


def _subscriber_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", value):
        raise refused("takes a name such as gateway.example.org: letters, digits, dots and dashes")
    return value


SubscriberName = Annotated[str, AfterValidator(_subscriber_id)]


class NetworkSettings(BaseModel):
    """Every setting of the network, by the name of its environment variable in lower case."""

    model_config = ConfigDict(frozen=True)

    beckn_auth: Literal["on", "off"] = "on"
    beckn_bg_id: SubscriberName = "bg.pylon.localhost"
    beckn_bg_url: HttpUrl
    bpp_host: str = Field("127.0.0.1", min_length=1)
    bpp_port: Port = 5053
    beckn_bpp_id: SubscriberName = "bpp.pylon.localhost"
    beckn_bpp_url: HttpUrl = Field(default_factory=lambda given: subscriber_url(given["bpp_host"], given["bpp_port"]))
    beckn_bap_id: SubscriberName = "bap.pylon.localhost"
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
        SettingsError: a value is wrong, two platforms share an id, or others could come in where nothing would stop
            them.
    """
    here = {"BECKN_BG_URL": subscriber_url(settings.bg_host, settings.bg_port)}
    network = read_settings(NetworkSettings, {**here, **set_variables(environ)})
    _check_together(settings, network)
    return network


def subscriber_url(host: str, port: int) -> str:
    """Where a platform that listens here takes messages."""
    bare = host.strip("[]")
    return f"http://[{bare}]:{port}/beckn" if ":" in bare else f"http://{bare}:{port}/beckn"


def _check_together(settings: Settings, network: NetworkSettings) -> None:
    check_reachability("BPP_HOST", network.bpp_host, settings)
    platforms = {"BG": network.gateway, "BPP": network.provider, "BAP": network.buyer}
    if len({platform.subscriber_id for platform in platforms.values()}) < len(platforms):
        raise SettingsError("BECKN_BG_ID, BECKN_BPP_ID and BECKN_BAP_ID must differ: they are three platforms")
    if network.authenticates:
        return
    if settings.is_multi_tenant:
        raise SettingsError(
            "BECKN_AUTH=off is refused with TENANCY=multi: without signatures anybody may buy in an operator's name"
        )
    hosts = {"API_HOST": settings.api_host, "BG_HOST": settings.bg_host, "BPP_HOST": network.bpp_host}
    hosts |= {f"BECKN_{name}_URL": urlsplit(each.url).hostname or "" for name, each in platforms.items()}
    for name, host in hosts.items():
        if not is_loopback(host):
            raise SettingsError(
                f"BECKN_AUTH=off is refused: {name} is {host}, and without signatures only this machine may "
                "be on the network; set BECKN_AUTH=on, or use 127.0.0.1"
            )
