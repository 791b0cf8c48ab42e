from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import settings
from beckn.network.settings import NetworkSettings, load_network_settings
from settings import ROOT, Settings, SettingsError, is_loopback, load_settings


def test_without_any_variable_everything_has_its_documented_default() -> None:
    found = load_settings({})
    assert found.pylon_data_dir == ROOT / ".pylon"
    assert (found.api_host, found.api_port, found.bg_host, found.bg_port) == ("127.0.0.1", 5000, "127.0.0.1", 5050)
    assert (found.pipeline_interval_minutes, found.pylon_retention_days) == (30, 90)
    assert (found.synthetic_data_centres, found.synthetic_workloads_per_run) == (8, 3)
    assert (found.bg_poll_seconds, found.bg_workers, found.carbon_price_gbp_per_t) == (2.0, 4, 100.0)
    assert (found.gemini_model, found.gemini_role) == ("gemini-3.8-flash", "score")
    assert (found.supabase_url, found.database_url, found.pylon_api_key) == (None, None, None)


def test_make_run_leaves_the_environment_above_the_file(tmp_path: Path) -> None:
    (call,) = re.findall(r"\$\(VENV\)/bin/honcho (.*) start", (ROOT / "Makefile").read_text(encoding="utf-8"))
    (tmp_path / ".env").write_text("API_PORT=1\n")
    (tmp_path / "Procfile").write_text("one: echo API_PORT=$API_PORT\n")
    ended = subprocess.run(
        [sys.executable, "-m", "honcho", *call.split(), "start"],
        cwd=tmp_path,
        env={**os.environ, "API_PORT": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "API_PORT=2" in ended.stdout, ended.stdout + ended.stderr


def test_the_example_file_has_every_setting_with_its_default() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", example, flags=re.MULTILINE))
    names = {name.upper() for name in (*Settings.model_fields, *NetworkSettings.model_fields)}
    assert set(shown) == names
    invented = {"SUPABASE_URL", "SUPABASE_KEY", "DATABASE_URL"}
    defaults = {name: value for name, value in shown.items() if name not in invented}
    assert load_settings(defaults) == load_settings({})
    assert load_network_settings(load_settings({}), defaults) == load_network_settings(load_settings({}), {})


def test_regions_have_connection_limits_where_they_are_named() -> None:
    assert load_settings({}).region_limits_mw == {}
    assert load_settings({"REGION_LIMITS_MW": "13=45, 2=20.5"}).region_limits_mw == {13: 45.0, 2: 20.5}


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"API_PORT": "", "SUPABASE_URL": "", "GEMINI_API_KEY": ""}) == load_settings({})


def test_a_relative_data_directory_is_below_the_root_and_a_tilde_is_the_home() -> None:
    assert load_settings({"PYLON_DATA_DIR": "elsewhere"}).pylon_data_dir == ROOT / "elsewhere"
    assert load_settings({"PYLON_DATA_DIR": "~/pylon"}).pylon_data_dir == Path.home() / "pylon"
    assert load_settings({"PYLON_DATA_DIR": "/var/pylon"}).pylon_data_dir == Path("/var/pylon")


def test_a_base_url_loses_its_last_slash() -> None:
    assert load_settings({"NESO_URL": "http://127.0.0.1:9700/neso/"}).neso_url == "http://127.0.0.1:9700/neso"


@pytest.mark.parametrize(
    ("variable", "value", "takes"),
    [
        ("API_PORT", "0", "a whole number from 1 to 65535"),
        ("API_PORT", "http", "a whole number from 1 to 65535"),
        ("BG_PORT", "65536", "a whole number from 1 to 65535"),
        ("PIPELINE_INTERVAL_MINUTES", "45", "a multiple of 30 from 30 to 1440"),
        ("PIPELINE_INTERVAL_MINUTES", "0", "a whole number from 30 to 1440"),
        ("SYNTHETIC_DATA_CENTRES", "-1", "a whole number from 0 to 1000"),
        ("SYNTHETIC_WORKLOADS_PER_RUN", "many", "a whole number from 0 to 1000"),
        ("PYLON_RETENTION_DAYS", "2", "a whole number from 3 to 36500"),
        ("PYLON_RETENTION_DAYS", "90.5", "a whole number from 3 to 36500"),
        ("BG_POLL_SECONDS", "0", "a number above 0 to 3600"),
        ("BG_POLL_SECONDS", "inf", "a number above 0 to 3600"),
        ("BG_WORKERS", "0", "a whole number from 1 to 64"),
        ("CARBON_PRICE_GBP_PER_T", "nan", "a number from 0 to 100000"),
        ("GEMINI_ROLE", "judge", "score or explain"),
        ("NEGOTIATE_LIMITS", "yes", "on or off"),
        *(
            ("REGION_LIMITS_MW", limits, "each region once, from 1 to 14, with its MW, such as 13=45,2=20.5")
            for limits in ("13", "15=1", "0=1", "13=-1", "13=nan", "13=1,13=2", "13=1;2=2")
        ),
        ("CARBON_INTENSITY_URL", "api.carbonintensity.org.uk", "a URL such as https://example.org/path"),
        ("NESO_URL", "https://", "a URL such as https://example.org/path"),
        ("ELEXON_URL", "http://127.0.0.1:99999", "a URL such as https://example.org/path"),
        ("SUPABASE_URL", "http://[::1", "a URL such as https://example.org/path"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_with_the_name_the_value_and_what_it_takes(
    variable: str, value: str, takes: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({variable: value})
    assert str(refused.value) == f"{variable}={value!r} is refused: it takes {takes}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://u:secret-word@h/db"),
        ("DATABASE_URL", "postgresql://u:secret-word@[h/db"),
        ("DATABASE_URL", "postgresql://u:secret-word@h/db?no_such_option=1"),
        ("PYLON_API_KEY", "secret-word with spaces"),
        ("PYLON_API_KEY", "secret-wörd"),
        ("GEMINI_API_KEY", "secret-word\n"),
        ("SUPABASE_KEY", "secret word"),
    ],
)
def test_a_refused_secret_is_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({variable: value})
    message = str(refused.value)
    assert message.startswith(f"{variable}=(hidden) is refused: it takes ")
    assert "secret" not in message
    assert "\n" not in message


def test_a_short_api_key_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"PYLON_API_KEY=\(hidden\) is refused: it takes at least 8 characters"):
        load_settings({"PYLON_API_KEY": "short"})


def test_supabase_takes_an_address_and_a_key_together() -> None:
    with pytest.raises(SettingsError, match="SUPABASE_URL is set but SUPABASE_KEY is not"):
        load_settings({"SUPABASE_URL": "https://project.supabase.co"})
    with pytest.raises(SettingsError, match="SUPABASE_KEY is set but SUPABASE_URL is not"):
        load_settings({"SUPABASE_KEY": "sb_secret_x"})


@pytest.mark.parametrize("variable", ["API_HOST", "BG_HOST"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_host_that_others_reach_needs_an_api_key(variable: str, host: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}={host} is reachable from other machines: set PYLON_API_KEY"):
        load_settings({variable: host})
    assert load_settings({variable: host, "PYLON_API_KEY": "a long enough key".replace(" ", "-")})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_hosts_need_none(host: str) -> None:
    assert is_loopback(host)
    assert load_settings({"API_HOST": host}).api_host == host


def test_secrets_do_not_show_in_the_settings_text() -> None:
    found = load_settings({"DATABASE_URL": "postgresql://u:hush@h/db", "PYLON_API_KEY": "hush-hush-hush"})
    assert "hush" not in repr(found)


def test_env_files_stand_below_the_process_environment_and_the_root_s_above_the_backend_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_root, in_backend = tmp_path / ".env", tmp_path / "backend.env"
    at_root.write_text("API_PORT=6001\nBG_PORT=6002\n")
    in_backend.write_text("API_PORT=7001\nBG_PORT=7002\nBG_WORKERS=7\n")
    monkeypatch.setattr(settings, "DOTENV_FILES", (at_root, in_backend))
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("API_PORT", "5001")
    found = load_settings()
    assert (found.api_port, found.bg_port, found.bg_workers) == (5001, 6002, 7)


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / ".env"
    broken.write_bytes(b"API_PORT=\xff\xfe")
    monkeypatch.setattr(settings, "DOTENV_FILES", (broken,))
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        load_settings()


SUPABASE = {"SUPABASE_URL": "https://project.supabase.co", "SUPABASE_KEY": "sb_secret_x"}
ISSUER = {
    "TENANCY": "multi",
    "AUTH_ISSUER": "https://id.example",
    "AUTH_AUDIENCE": "pylon",
    "AUTH_JWKS_URL": "https://id.example/keys",
}
DIRECT = {"DATABASE_URL": "postgresql://owner@h/db", "DATABASE_GATE_URL": "postgresql://pylon_gate@h/db"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"AUTH_ISSUER": "https://id.example"}, "AUTH_ISSUER is set but TENANCY is single"),
        ({"AUTH_JWKS_URL": "https://id.example/keys"}, "AUTH_JWKS_URL is set but TENANCY is single"),
        (DIRECT, "DATABASE_GATE_URL is set but TENANCY is single"),
        ({"TENANCY": "multi", "DATABASE_URL": "postgresql://owner@h/db"}, "needs DATABASE_GATE_URL"),
        ({"TENANCY": "multi", "DATABASE_GATE_URL": DIRECT["DATABASE_GATE_URL"]}, "DATABASE_URL is not in use"),
        ({"TENANCY": "multi", **SUPABASE, **DIRECT}, "DATABASE_URL is not in use"),
        ({"TENANCY": "multi", "AUTH_AUDIENCE": "pylon"}, "AUTH_AUDIENCE is set but AUTH_ISSUER is not"),
        ({"TENANCY": "multi", "AUTH_JWKS_URL": "https://id.example/keys"}, "AUTH_ISSUER is not"),
        ({"TENANCY": "multi", "AUTH_SHARED_SECRET": "x" * 32}, "AUTH_ISSUER is not"),
        ({**ISSUER, "AUTH_AUDIENCE": ""}, "AUTH_AUDIENCE is not"),
        ({**ISSUER, "AUTH_JWKS_URL": ""}, "AUTH_JWKS_URL is not"),
        ({**ISSUER, "AUTH_SHARED_SECRET": "x" * 32}, "AUTH_JWKS_URL and AUTH_SHARED_SECRET are both set"),
        ({**ISSUER, "AUTH_JWKS_URL": "http://id.example/keys"}, "takes https"),
        ({"TENANCY": "multi", **SUPABASE, "SUPABASE_URL": "http://project.example"}, "takes https"),
        (
            {"TENANCY": "multi", **SUPABASE, "AUTH_SHARED_SECRET": "short"},
            r"AUTH_SHARED_SECRET=\(hidden\) is refused",
        ),
    ],
)
def test_half_of_what_tells_callers_apart_is_refused_in_one_line(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        load_settings(given)
    assert "\n" not in str(refused.value)


def test_whose_tokens_are_taken() -> None:
    assert load_settings({}).issuer() is None
    assert load_settings(SUPABASE).issuer() is None
    assert load_settings({"TENANCY": "multi"}).issuer() is None
    of_supabase = load_settings({"TENANCY": "multi", **SUPABASE}).issuer()
    assert of_supabase == settings.Issuer(
        "https://project.supabase.co/auth/v1",
        "authenticated",
        "https://project.supabase.co/auth/v1/.well-known/jwks.json",
        None,
    )
    assert load_settings({**ISSUER, **DIRECT}).issuer() == settings.Issuer(
        "https://id.example", "pylon", "https://id.example/keys", None
    )
    legacy = load_settings({"TENANCY": "multi", **SUPABASE, "AUTH_SHARED_SECRET": "x" * 40}).issuer()
    assert legacy is not None
    assert (legacy.jwks_url, legacy.shared_secret) == (None, "x" * 40)
    assert "xxx" not in repr(legacy)


def test_with_tenants_a_host_that_others_reach_needs_no_platform_key() -> None:
    assert load_settings({"TENANCY": "multi", "API_HOST": "0.0.0.0"}).is_multi_tenant


def test_origins_are_told_with_commas_between_them() -> None:
    found = load_settings({"ALLOWED_ORIGINS": "https://App.example.org/, http://localhost:3000,"})
    assert found.allowed_origins == ("https://app.example.org", "http://localhost:3000")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("http://localhost:5000", "http://127.0.0.1:5000")),
        ({"API_PORT": "80"}, ("http://localhost:80", "http://127.0.0.1:80")),
        ({"API_HOST": "0.0.0.0", "PYLON_API_KEY": "k" * 20}, ("http://localhost:5000", "http://127.0.0.1:5000")),
        ({"API_HOST": "10.0.0.7", "PYLON_API_KEY": "k" * 20}, ("http://10.0.0.7:5000",)),
        ({"API_HOST": "fd00::7", "PYLON_API_KEY": "k" * 20}, ("http://[fd00::7]:5000",)),
        ({"DASHBOARD_ORIGINS": "https://dash.example"}, ("https://dash.example",)),
    ],
)
def test_the_gateway_is_read_by_pages_of_the_api_server_unless_others_are_named(
    environ: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert load_settings(environ).origins_of_dashboard() == expected


@pytest.mark.parametrize(
    "value", ["*", "null", "app.example.org", "https://app.example.org/page", "file://", "https://"]
)
def test_what_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_ORIGINS=.* is refused: it takes origins such as"):
        load_settings({"ALLOWED_ORIGINS": value})
