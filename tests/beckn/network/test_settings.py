"""The network's settings: what they default to, and what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings
from beckn.network.settings import NetworkSettings, load_network_settings
from beckn.protocol.objects import Subscriber
from settings import SettingsError, load_settings


def load(environ: dict[str, str]) -> NetworkSettings:
    return load_network_settings(load_settings(environ), environ)


def complaint(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(environ)
    return str(refused.value)


def test_without_any_setting_messages_are_signed_and_every_platform_is_on_loopback() -> None:
    network = load({})
    assert network.authenticates
    assert network.gateway == Subscriber("bg.pylon.localhost", "http://127.0.0.1:5050/beckn")
    assert network.provider == Subscriber("bpp.pylon.localhost", "http://127.0.0.1:5053/beckn")
    assert network.buyer == Subscriber("bap.pylon.localhost", "http://127.0.0.1:5052/beckn")


def test_urls_follow_the_hosts_and_ports_unless_they_are_given() -> None:
    moved = load({"BG_HOST": "[::1]", "BG_PORT": "6050", "BPP_HOST": "::1", "BPP_PORT": "6053"})
    assert moved.beckn_bg_url == "http://[::1]:6050/beckn"
    assert moved.beckn_bpp_url == "http://[::1]:6053/beckn"
    assert load({"BECKN_BG_URL": "https://bg.example.org/beckn/"}).beckn_bg_url == "https://bg.example.org/beckn"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BECKN_AUTH": "maybe"}, "BECKN_AUTH='maybe' is refused: it takes on or off"),
        ({"BPP_PORT": "0"}, "BPP_PORT='0' is refused: it takes a whole number from 1 to 65535"),
        ({"BPP_PORT": "x"}, "BPP_PORT='x' is refused: it takes a whole number from 1 to 65535"),
        ({"BECKN_BG_ID": "../etc"}, "BECKN_BG_ID='../etc' is refused: it takes a name such as gateway.example.org"),
        ({"BECKN_BAP_URL": "beckn"}, "BECKN_BAP_URL='beckn' is refused: it takes a URL such as https://"),
        ({"BECKN_BG_ID": "one", "BECKN_BPP_ID": "one"}, "must differ"),
        ({"BPP_HOST": "0.0.0.0"}, "BPP_HOST=0.0.0.0 is reachable from other machines: set PYLON_API_KEY too"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(environ: dict[str, str], said: str) -> None:
    assert said in complaint(environ)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"API_HOST": "0.0.0.0", "PYLON_API_KEY": "12345678"},
        {"BG_HOST": "192.168.1.7", "PYLON_API_KEY": "12345678"},
        {"BPP_HOST": "10.0.0.7", "PYLON_API_KEY": "12345678"},
        {"BECKN_BG_URL": "https://bg.example.org/beckn"},
        {"BECKN_BPP_URL": "http://10.0.0.7:5053/beckn"},
        {"BECKN_BAP_URL": "http://bap.example.org/beckn"},
    ],
)
def test_signatures_are_not_switched_off_where_others_could_come_in(elsewhere: dict[str, str]) -> None:
    load(elsewhere)
    said = complaint(elsewhere | {"BECKN_AUTH": "off"})
    assert said.startswith("BECKN_AUTH=off is refused: ")
    assert next(iter(elsewhere)) in said


def test_the_network_is_read_from_the_same_files_as_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("BECKN_BG_ID=gateway.example.org\nBPP_PORT=6053\n")
    monkeypatch.setattr(settings, "DOTENV_FILES", (file,))
    for name in NetworkSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("BPP_PORT", "7053")
    network = load_network_settings(load_settings({}))
    assert network.gateway.subscriber_id == "gateway.example.org"
    assert network.provider.url == "http://127.0.0.1:7053/beckn"


def test_signatures_may_be_switched_off_where_everything_is_on_this_machine() -> None:
    assert not load({"BECKN_AUTH": "off"}).authenticates
    assert not load({"BECKN_AUTH": "off", "BG_HOST": "localhost", "BPP_HOST": "::1"}).authenticates


def test_signatures_are_not_switched_off_where_there_are_tenants() -> None:
    several = {"TENANCY": "multi", "BECKN_AUTH": "off"}
    assert complaint(several).startswith("BECKN_AUTH=off is refused with TENANCY=multi")
