"""How numbers, times, places and identities are written."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from beckn.protocol.values import Decimals, Duration, Gps, HttpUri, Timestamp, Uuid, decimal_text
from grid.half_hours import UTC


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
@settings(deadline=None)
def test_a_number_is_written_in_plain_decimals_and_read_back_exactly(number: float) -> None:
    text = decimal_text(number)
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)
    assert type(number)(text) == number
    TypeAdapter(Decimals).validate_python(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (42.50, "42.5"),
        (0.0, "0"),
        (-0.0, "0"),
        (-12.3, "-12.3"),
        (1e-7, "0.0000001"),
        (1e21, "1" + 21 * "0"),
        (7, "7"),
    ],
)
def test_a_number_is_written_without_exponent_or_needless_zeros(number: float, text: str) -> None:
    assert decimal_text(number) == text


def accepts(kind: Any, text: str) -> bool:
    try:
        TypeAdapter(kind).validate_json(f'"{text}"')
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("text", ["0", "-1.5", "+.5", "0012"])
def test_decimals_are_accepted(text: str) -> None:
    assert accepts(Decimals, text)


@pytest.mark.parametrize("text", ["", "1.", "1e3", "1,5", " 1", "NaN", "٣", "1.2.3"])
def test_other_texts_are_no_decimals(text: str) -> None:
    assert not accepts(Decimals, text)


@pytest.mark.parametrize("text", ["2026-11-22T08:00:00Z", "2026-11-22T08:00:00.5+00:00", "2026-11-22T09:00:00+01:00"])
def test_times_with_a_zone_are_read_as_utc(text: str) -> None:
    read: datetime = TypeAdapter(Timestamp).validate_json(f'"{text}"')
    assert read.utcoffset() == timedelta(0)
    assert read.replace(microsecond=0) == datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["1795334400", "2026-11-22", "2026-11-22T08:00:00", "2026-11-22 08:00:00Z", "2026-13-22T08:00:00Z", ""]
)
def test_a_time_without_a_zone_or_of_another_form_is_refused(text: str) -> None:
    assert not accepts(Timestamp, text)


def test_a_time_is_not_a_number() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Timestamp).validate_json("1795334400")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("PT30S", timedelta(seconds=30)),
        ("PT720M", timedelta(hours=12)),
        ("P1DT2H0.5S", timedelta(days=1, hours=2, milliseconds=500)),
        ("P2W", timedelta(weeks=2)),
    ],
)
def test_durations_of_fixed_length_are_read(text: str, length: timedelta) -> None:
    assert TypeAdapter(Duration).validate_json(f'"{text}"') == length


@pytest.mark.parametrize("text", ["", "P", "PT", "30", "PT-5S", "-PT5S", "P1M", "P1Y", "00:00:30", "PT30"])
def test_other_durations_are_refused(text: str) -> None:
    assert not accepts(Duration, text)


@pytest.mark.parametrize("text", ["55.9533, -3.1883", "-90,180", "0,0", "90.0, -180.0"])
def test_latitude_and_longitude_are_accepted_in_that_order(text: str) -> None:
    assert accepts(Gps, text)


@pytest.mark.parametrize(
    "text", ["", "55.9", "91, 0", "90.1, 0", "0, 180.5", "-100.5, 30", "55,9533, -3,1883", "N55 W3"]
)
def test_what_is_not_on_earth_is_refused(text: str) -> None:
    assert not accepts(Gps, text)


@pytest.mark.parametrize(
    "text", ["not-a-uuid", "5a86a7be934056ef904530c392a32d22", "{5a86a7be-9340-56ef-9045-30c392a32d22}"]
)
def test_a_uuid_has_its_hyphens_and_nothing_else(text: str) -> None:
    assert accepts(Uuid, "5A86a7be-9340-56ef-9045-30c392a32d22")
    assert not accepts(Uuid, text)


@pytest.mark.parametrize("text", ["ftp://bpp.example", "https://", "bpp.example", "http://bpp.example/a b"])
def test_a_platform_is_reached_over_http(text: str) -> None:
    assert accepts(HttpUri, "http://127.0.0.1:5053/beckn")
    assert not accepts(HttpUri, text)
