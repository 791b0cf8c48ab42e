"""How Beckn 1.1 writes numbers, times, places and identities: as text of a fixed form, and never as null."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    Strict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from grid.half_hours import as_utc

T = TypeVar("T")

UtcDatetime = Annotated[AwareDatetime, AfterValidator(as_utc)]
"""A moment as the database answers it."""

KEY_ID = re.compile(r'[^|"\x00-\x1f\x7f-\x9f]{1,200}')
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
# Years and months must be none: they have no fixed length, and a message's end must be a moment.
_ISO_8601_DURATION = re.compile(
    r"P(?=[0-9T])(0+Y)?(0+M)?([0-9]{1,9}W)?([0-9]{1,9}D)?"
    r"(T(?=[0-9])([0-9]{1,12}H)?([0-9]{1,12}M)?([0-9]{1,15}([.][0-9]{1,9})?S)?)?"
)


def decimal_text(number: float) -> str:
    """A finite number as Beckn writes amounts: plain decimals, and exactly the same number when read back.

    Negative numbers keep their sign, as Beckn's decimals allow; there is no exponent and no "-0".
    """
    text = format(Decimal(str(number)), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def canonical_key_id(key_id: str) -> str:
    """A key's id as the registry keeps it: the case of a UUID's digits means nothing, that of other text does."""
    return key_id.lower() if _UUID.fullmatch(key_id) else key_id


def _names_a_key(key_id: str) -> str:
    if not KEY_ID.fullmatch(key_id):
        raise PydanticCustomError("key_id", "Input should be text of 1 to 200 characters without | and quotes")
    return canonical_key_id(key_id)


def _refuse_null(value: Any, info: ValidationInfo) -> Any:
    if value is None and info.mode == "json":
        raise PydanticCustomError("null", "Beckn has no null: leave the field out")
    return value


def _unread(value: Any, validated: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    return None if info.mode == "json" else validated(value)


def _is_none(value: object) -> bool:
    return value is None


def _in_rfc_3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise PydanticCustomError("timestamp", "Input should be a time like 2026-11-22T08:00:00Z")


def _in_iso_8601(value: object) -> object:
    if isinstance(value, timedelta) or (isinstance(value, str) and _ISO_8601_DURATION.fullmatch(value)):
        return value
    raise PydanticCustomError("duration", "Input should be an ISO 8601 duration like PT30S")


def _on_earth(gps: str) -> str:
    latitude, longitude = gps.split(",")
    if abs(float(latitude)) > 90 or abs(float(longitude)) > 180:
        raise PydanticCustomError("gps", "Latitude is -90 to 90 and longitude -180 to 180, in that order")
    return gps


Omittable = Annotated[T | None, AfterValidator(_refuse_null), Field(exclude_if=_is_none)]
"""A field that may be absent: None in Python, never null in JSON."""

Written = Annotated[T | None, WrapValidator(_unread), Field(exclude_if=_is_none)]
"""A field that we may write and never read: whatever others have there is not looked at, and is None."""

Identity = Annotated[str, Field(min_length=1)]
Decimals = Annotated[str, Field(pattern=r"^[+-]?([0-9]+([.][0-9]+)?|[.][0-9]+)$")]
Gps = Annotated[
    str,
    Field(pattern=r"^[+-]?(0|[1-9][0-9]?)([.][0-9]+)?, *[+-]?(0|[1-9][0-9]{0,2})([.][0-9]+)?$"),
    AfterValidator(_on_earth),
]
# Text, and not a UUID object, so that an answer carries the very characters of its request.
Uuid = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]
# A UUID in Beckn's own registry, a digest in base58 or any other text in other networks'.
KeyId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_names_a_key)]
HttpUri = Annotated[str, Field(pattern=r"^https?://[!-~]+$")]
Timestamp = Annotated[AwareDatetime, Strict(False), BeforeValidator(_in_rfc_3339), AfterValidator(as_utc)]
Duration = Annotated[timedelta, Strict(False), BeforeValidator(_in_iso_8601)]
