"""What a runner's owner has written into `runner.toml`: which commands there are, and nothing that others say.

A wrong value is refused with one line that names the file, the value and what is wrong with it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from printable import LONGEST_REASON, printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LONGEST_KEPT_TAIL_BYTES = 64 * 1024
DAY_S = 24 * 3600.0
OWN_VARIABLES = ("PYLON_PARAM_", "PYLON_RUN")
"""How the names of the variables begin that a template may not set: they are the runner's."""


class ConfigurationRefused(Exception):
    """The file cannot be used; the message is one line that says why."""


def _pattern(text: object) -> object:
    if isinstance(text, re.Pattern):
        return text
    if not isinstance(text, str):
        raise ValueError("takes a regular expression as text")  # noqa: TRY004 - pydantic's way
    try:
        return re.compile(text, re.ASCII)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL, which no command can be given")
    return text


def _not_our_own(name: str) -> str:
    if name.startswith(OWN_VARIABLES):
        raise ValueError("is a name that the runner sets itself")
    return name


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
        whole = whole and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("takes a URL such as https://pylon.example.org")
    if parts.scheme == "http" and not _is_here(parts.hostname or ""):
        raise ValueError("takes https, or an address of this machine: over plain http others would read the key")
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Text = Annotated[str, AfterValidator(_without_nul)]
Identity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"), AfterValidator(_not_our_own)
]
Kilowatts = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Strict):
    """What a submission may give: it must match the pattern from end to end; without a default it must be given."""

    pattern: Annotated[re.Pattern[str], BeforeValidator(_pattern)]
    default: Text | None = None


class Limits(_Strict):
    """What a run may take before it is ended."""

    longest_s: float = Field(gt=0, le=7 * DAY_S, allow_inf_nan=False)
    grace_s: float = Field(10.0, ge=0, le=300, allow_inf_nan=False)
    output_tail_bytes: int = Field(16 * 1024, ge=0, le=LONGEST_KEPT_TAIL_BYTES)
    memory_mb: int | None = Field(None, ge=16)
    cpu_s: int | None = Field(None, ge=1)


class Template(_Strict):
    """A command that may be asked for by its name."""

    command: Annotated[list[Text], Field(min_length=1)]
    power_kw: Kilowatts
    limits: Limits
    environment: Mapping[VariableName, Text] = Field(default_factory=dict)
    parameters: Mapping[ParameterName, Parameter] = Field(default_factory=dict)


class Configuration(_Strict):
    """The whole file. Paths in it are relative to it."""

    server_url: Annotated[str, AfterValidator(_server)]
    runner_id: Identity
    data_centre: Identity
    capacity_kw: Kilowatts
    state_directory: Path
    key_file: Path | None = None
    take_over: bool = False
    templates: Annotated[Mapping[TemplateName, Template], Field(min_length=1)]


def read_configuration(file: Path) -> Configuration:
    """The configuration in `file`, its paths absolute and its programs found.

    Raises:
        ConfigurationRefused: it cannot be read, or says something that cannot be.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationRefused(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # of TOML, or of UTF-8
        raise ConfigurationRefused(f"{file} is not TOML: {printable(error)}") from None
    try:
        found = Configuration.model_validate(document)
    except ValidationError as error:
        raise ConfigurationRefused(f"{file}: {_one_line(error)}") from None
    return _settled(found, file)


def read_key(file: Path) -> str:
    """The runner's key, alone in a file that nobody else may read.

    Raises:
        ConfigurationRefused: there is none, or others may read it.
    """
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigurationRefused(f"key_file {file} may be read by others: chmod 600 {file}")
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationRefused(f"key_file {file} cannot be read: {why}") from None
    if not re.fullmatch(r"[!-~]{1,4096}", key):
        raise ConfigurationRefused(f"key_file {file} does not hold a key alone: one line of ASCII without spaces")
    return key


def _settled(found: Configuration, file: Path) -> Configuration:
    folder = file.absolute().parent
    templates = {
        name: template.model_copy(update={"command": _found(name, template, folder)})
        for name, template in found.templates.items()
    }
    for name, template in templates.items():
        _check_fits(name, template, found.capacity_kw, file)
    return found.model_copy(
        update={
            "state_directory": folder / found.state_directory.expanduser(),
            "key_file": None if found.key_file is None else folder / found.key_file.expanduser(),
            "templates": templates,
        }
    )


def _found(name: str, template: Template, folder: Path) -> list[str]:
    program, *arguments = template.command
    if "/" in program:
        path = folder / Path(program).expanduser()
        found = str(path) if path.is_file() and os.access(path, os.X_OK) else None
    else:
        found = shutil.which(program, path=template.environment.get("PATH"))
    if found is None:
        raise ConfigurationRefused(f"templates.{name}.command: there is no program {printable(program)} to be run")
    return [str(Path(found).absolute()), *arguments]


def _check_fits(name: str, template: Template, capacity_kw: float, file: Path) -> None:
    if template.power_kw > capacity_kw:
        raise ConfigurationRefused(
            f"{file}: templates.{name}.power_kw={template.power_kw:g} is refused: "
            f"the runner has no more than capacity_kw={capacity_kw:g}"
        )
    for parameter_name, parameter in template.parameters.items():
        if parameter.default is not None and not parameter.pattern.fullmatch(parameter.default):
            raise ConfigurationRefused(
                f"{file}: templates.{name}.parameters.{parameter_name}.default={parameter.default!r} is refused: "
                "it does not match the pattern"
            )


def _one_line(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{where} is no setting of a runner"
    message = fault["msg"].removeprefix("Value error, ")
    return printable(f"{where}={_shown(fault['input'])} is refused: {message}", LONGEST_REASON)


def _shown(given: Any) -> str:
    return printable(repr(given))
