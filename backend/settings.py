"""The environment, read once into typed settings.

Values come from the process environment and, below it, from `.env` at the repository's root or in `backend/`.
A wrong value is refused with one line that names the variable, the value and what it takes.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

ROOT = Path(__file__).resolve().parent.parent
DOTENV_FILES = (ROOT / ".env", ROOT / "backend" / ".env")
OWN_RULE = "setting"  # the type of the errors whose message says itself what the setting takes

Model = TypeVar("Model", bound=BaseModel)


class SettingsError(Exception):
    """A setting is wrong or missing; the message says which, and what it takes."""


def refused(what_it_takes: str) -> PydanticCustomError:
    """What a setting's own rule raises: "takes …"."""
    return PydanticCustomError(OWN_RULE, what_it_takes)


def _http_url(value: str) -> str:
    no_url = refused("takes a URL such as https://example.org/path")
    try:
        url = urlsplit(value)
        whole = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        raise no_url from None
    if not whole or " " in value:
        raise no_url
    return value.rstrip("/")


def _postgres_url(value: SecretStr) -> SecretStr:
    no_url = refused("takes a URL such as postgresql://user:password@host:5432/name")
    if not value.get_secret_value().startswith(("postgres://", "postgresql://")):
        raise no_url
    try:
        conninfo_to_dict(value.get_secret_value())
    except ProgrammingError:
        raise no_url from None
    return value


def _header_text(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise refused("takes ASCII characters without spaces: it travels in an HTTP header")
    return value


def _whole_slots(value: int) -> int:
    if value % 30:
        raise refused("takes a multiple of 30 from 30 to 1440")
    return value


def _origins(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    origins = [each.strip().lower().rstrip("/") for each in value.split(",") if each.strip()]
    if not all(_ORIGIN.fullmatch(each) for each in origins):
        raise refused("takes origins such as https://app.example.org, with commas between them")
    return tuple(origins)


_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def _hosts(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    hosts = [each.strip().lower() for each in value.split(",") if each.strip()]
    if not all(_HOST.fullmatch(each) for each in hosts):
        raise refused("takes names or addresses of hosts such as ven.example.org, with commas between them")
    return tuple(hosts)


_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")


def _region_limits(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    named = [_REGION_LIMIT.fullmatch(entry.strip()) for entry in value.split(",") if entry.strip()]
    limits = {int(found["region"]): float(found["mw"]) for found in named if found is not None}
    if len(limits) < len(named) or not all(1 <= region <= MOST_REGION_ID for region in limits):
        raise refused("takes each region once, from 1 to 14, with its MW, such as 13=45,2=20.5")
    return limits


_REGION_LIMIT = re.compile(r"(?P<region>[0-9]{1,2}) *= *(?P<mw>[0-9]{1,6}(\.[0-9]{1,6})?)")
MOST_REGION_ID = 14
"""Of those that are no aggregate."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]
RegionLimits = Annotated[dict[int, float], BeforeValidator(_region_limits)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_hosts)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
Key = Annotated[SecretStr, AfterValidator(_header_text)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Every setting, by the name of its environment variable in lower case.

    Those of the Beckn network are in `beckn/network/settings.py`, and are read by the same rules.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    supabase_url: HttpUrl | None = None
    supabase_key: Key | None = None
    database_url: PostgresUrl | None = None
    pylon_data_dir: Path = ROOT / ".pylon"

    gemini_api_key: Key | None = None
    gemini_model: str = Field("gemini-3.8-flash", pattern=r"^[A-Za-z0-9._/-]{1,100}$")
    gemini_base_url: HttpUrl | None = None
    gemini_role: Literal["score", "explain"] = "score"
    carbon_price_gbp_per_t: float = Field(100.0, ge=0, le=100_000, allow_inf_nan=False)
    flex_supplier_prices: str = Field("", pattern=r"^(\d{4}Q[1-4]=-?\d{1,6}(\.\d{1,6})?(, *|$))*$")

    carbon_intensity_url: HttpUrl = "https://api.carbonintensity.org.uk"
    neso_url: HttpUrl = "https://api.neso.energy/api/3/action"
    elexon_url: HttpUrl = "https://data.elexon.co.uk/bmrs/api/v1"

    api_host: str = Field("127.0.0.1", min_length=1)
    api_port: Port = 5000
    api_public_url: HttpUrl | None = None
    bg_host: str = Field("127.0.0.1", min_length=1)
    bg_port: Port = 5050
    pylon_api_key: Key | None = Field(None, min_length=8)
    allowed_origins: Origins = ()
    dashboard_origins: Origins | None = None

    tenancy: Literal["single", "multi"] = "single"
    database_gate_url: PostgresUrl | None = None
    auth_issuer: HttpUrl | None = None
    auth_audience: str | None = Field(None, pattern=r"^[!-~]{1,200}$")
    auth_jwks_url: HttpUrl | None = None
    auth_shared_secret: Key | None = Field(None, min_length=32)

    pipeline_interval_minutes: Annotated[int, AfterValidator(_whole_slots)] = Field(30, ge=30, le=1440)
    synthetic_data_centres: int = Field(8, ge=0, le=1000)
    synthetic_workloads_per_run: int = Field(3, ge=0, le=1000)
    bg_poll_seconds: float = Field(2.0, gt=0, le=3600, allow_inf_nan=False)
    bg_workers: int = Field(4, ge=1, le=64)
    log_format: Literal["text", "json"] = "text"
    negotiate_limits: Literal["on", "off"] = "on"
    openadr_private_callbacks: Hosts = ()
    region_limits_mw: RegionLimits = {}
    runner_lost_after_seconds: float = Field(600.0, ge=5, le=86_400, allow_inf_nan=False)
    pylon_retention_days: int = Field(90, ge=3, le=36500)

    def origins_of_dashboard(self) -> tuple[str, ...]:
        """Of pages that may read the gateway: by default the API server's, by its address and by its other name."""
        if self.dashboard_origins is not None:
            return self.dashboard_origins
        host = self.api_host.strip("[]")
        of_this_machine = is_loopback(host) or host in {"0.0.0.0", "::"}  # noqa: S104 - listens on nothing
        names = ["localhost", "127.0.0.1"] if of_this_machine else [f"[{host}]" if ":" in host else host]
        return tuple(f"http://{name}:{self.api_port}".lower() for name in names)

    @property
    def is_multi_tenant(self) -> bool:
        return self.tenancy == "multi"

    def issuer(self) -> Issuer | None:
        """Whose tokens are taken, if anybody's are."""
        if not self.is_multi_tenant:
            return None
        if self.auth_issuer is not None and self.auth_audience is not None:
            name, audience, jwks_url = self.auth_issuer, self.auth_audience, self.auth_jwks_url
        elif self.supabase_url is not None:
            name, audience = f"{self.supabase_url}/auth/v1", self.auth_audience or SUPABASE_AUDIENCE
            jwks_url = self.auth_jwks_url or f"{name}/.well-known/jwks.json"
        else:
            return None
        if self.auth_shared_secret is not None:
            return Issuer(name, audience, None, self.auth_shared_secret.get_secret_value())
        return Issuer(name, audience, jwks_url, None)


SUPABASE_AUDIENCE = "authenticated"


@dataclass(frozen=True)
class Issuer:
    """Who signs the tokens that are taken, for whom, and where its public keys are; or the secret it shares."""

    name: str
    audience: str
    jwks_url: str | None
    shared_secret: str | None = field(repr=False)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ`, or from the process environment and the `.env` files when it is None.

    Raises:
        SettingsError: a value is wrong, or two settings do not go together.
    """
    settings = read_settings(Settings, set_variables(environ))
    settings = settings.model_copy(update={"pylon_data_dir": _absolute(settings.pylon_data_dir)})
    _check_together(settings)
    return settings


def wants_json_logs(environ: Mapping[str, str] | None = None) -> bool:
    """Whether LOG_FORMAT asks for JSON. Asked before the settings are read, for what is wrong in them is logged."""
    try:
        return set_variables(environ).get("LOG_FORMAT") == "json"
    except SettingsError:
        return False


def set_variables(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The variables of `environ`, or of the process and the `.env` files when it is None, that are not empty.

    Raises:
        SettingsError: a file cannot be read.
    """
    values = _from_files_and_process() if environ is None else environ
    return {name: value for name, value in values.items() if value != ""}


def read_settings(model: type[Model], variables: Mapping[str, str]) -> Model:
    """The settings of `model`: each of its fields from the variable of its name in capitals, where that is set.

    Raises:
        SettingsError: a value is wrong.
    """
    known = {name: variables[name.upper()] for name in model.model_fields if name.upper() in variables}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise SettingsError(_one_line(model, error)) from None


def check_reachability(name: str, host: str, settings: Settings) -> None:
    """Refuse a `host`, the value of `name`, that others can reach where nobody is asked who they are.

    Raises:
        SettingsError: PYLON_API_KEY is missing, and there is one tenant.
    """
    if not is_loopback(host) and settings.pylon_api_key is None and not settings.is_multi_tenant:
        raise SettingsError(
            f"{name}={host} is reachable from other machines: set PYLON_API_KEY too, or use 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _from_files_and_process() -> Mapping[str, str]:
    merged: dict[str, str] = {}
    for file in reversed(DOTENV_FILES):
        merged.update({name: value for name, value in _dotenv(file).items() if value is not None})
    merged.update(os.environ)
    return merged


def _dotenv(file: Path) -> Mapping[str, str | None]:
    try:
        return dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None


def _absolute(path: Path) -> Path:
    return path if path.is_absolute() else ROOT / path.expanduser()


def _check_together(settings: Settings) -> None:
    if (settings.supabase_url is None) != (settings.supabase_key is None):
        given, missing = ("SUPABASE_URL", "SUPABASE_KEY")
        if settings.supabase_url is None:
            given, missing = missing, given
        raise SettingsError(f"{given} is set but {missing} is not: Supabase takes both, or neither")
    check_reachability("API_HOST", settings.api_host, settings)
    check_reachability("BG_HOST", settings.bg_host, settings)
    _check_tenancy(settings)
    _check_issuer(settings)


def _check_tenancy(settings: Settings) -> None:
    of_many = ("auth_issuer", "auth_audience", "auth_jwks_url", "auth_shared_secret", "database_gate_url")
    given = next((name.upper() for name in of_many if getattr(settings, name) is not None), None)
    if given is not None and not settings.is_multi_tenant:
        raise SettingsError(f"{given} is set but TENANCY is single: set TENANCY=multi too, or leave {given} out")
    is_direct = settings.database_url is not None and settings.supabase_url is None
    if settings.is_multi_tenant and is_direct and settings.database_gate_url is None:
        raise SettingsError(
            "TENANCY=multi with DATABASE_URL needs DATABASE_GATE_URL: the same database, as the user pylon_gate"
        )
    if settings.database_gate_url is not None and not is_direct:
        raise SettingsError(
            "DATABASE_GATE_URL is set but DATABASE_URL is not in use: it is only for use with DATABASE_URL"
        )


def _check_issuer(settings: Settings) -> None:
    """Whose tokens are taken is said whole, or not at all."""
    if not settings.is_multi_tenant:
        return
    others = ("auth_audience", "auth_jwks_url", "auth_shared_secret")
    given = next((name.upper() for name in others if getattr(settings, name) is not None), None)
    if given is not None and settings.auth_issuer is None and settings.supabase_url is None:
        raise SettingsError(f"{given} is set but AUTH_ISSUER is not: set it to the issuer whose tokens are accepted")
    if settings.auth_issuer is not None and settings.auth_audience is None:
        raise SettingsError(
            "AUTH_ISSUER is set but AUTH_AUDIENCE is not: set it to the audience that its tokens must name"
        )
    if settings.auth_jwks_url is not None and settings.auth_shared_secret is not None:
        raise SettingsError(
            "AUTH_JWKS_URL and AUTH_SHARED_SECRET are both set: set only the one that the tokens are signed with"
        )
    if settings.auth_issuer is not None and settings.auth_jwks_url is None and settings.auth_shared_secret is None:
        raise SettingsError("AUTH_ISSUER is set but AUTH_JWKS_URL is not: set it to where its public keys are")
    issuer = settings.issuer()
    if issuer is not None and issuer.jwks_url is not None:
        url = urlsplit(issuer.jwks_url)
        if url.scheme != "https" and not is_loopback(url.hostname or ""):
            raise SettingsError(
                f"the signing keys at {issuer.jwks_url} would come over plain http: "
                "AUTH_JWKS_URL takes https, or an address of this machine"
            )


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    field = model.model_fields[name]
    shown = "(hidden)" if "SecretStr" in str(field.annotation) else repr(first["input"])
    return f"{name.upper()}={shown} is refused: it {_what_it_takes(field, first)}"


def _what_it_takes(field: FieldInfo, problem: Any) -> str:
    if problem["type"] == OWN_RULE:
        return str(problem["msg"])
    if problem["type"] == "literal_error":
        return "takes " + " or ".join(get_args(field.annotation))
    limits = {
        bound: getattr(limit, bound)
        for limit in field.metadata
        for bound in ("ge", "gt", "le")
        if getattr(limit, bound, None) is not None
    }
    if "le" in limits:
        kind = "a whole number" if field.annotation is int else "a number"
        low = f"from {limits['ge']:g}" if "ge" in limits else f"above {limits['gt']:g}"
        return f"takes {kind} {low} to {limits['le']:g}"
    if problem["type"] == "too_short":
        return f"takes at least {problem['ctx']['min_length']} characters"
    return f"is not valid ({problem['msg']})"
