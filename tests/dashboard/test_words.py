"""Figures and times as pages write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from dashboard import words

NOW = datetime(2026, 11, 22, 8, 4, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, 0, "unknown"),
        (0, 0, "0"),
        (-0.2, 0, "0"),
        (1234.5, 1, "1\u202f234.5"),
        (-13.46, 2, "\u221213.46"),
    ],
)
def test_numbers(value: float | None, decimals: int, text: str) -> None:
    assert words.number(value, decimals) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0, "0 g"),
        (1e-9, "0 g"),
        (0.2244, "0.22 g"),
        (5.26, "5.3 g"),
        (999, "999 g"),
        (1250, "1.25 kg"),
        (-12_500, "\u221212.5 kg"),
        (2.5e6, "2.50 t"),
    ],
)
def test_grams_kilograms_tonnes(value: float | None, text: str) -> None:
    assert words.grams(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0, "£0.00"),
        (-1e-9, "£0.00"),
        (-0.001, "\u2212£0.0010"),
        (0.0226, "£0.023"),
        (-1.5, "\u2212£1.50"),
        (1234, "£1\u202f234.00"),
    ],
)
def test_pounds_also_where_two_decimals_would_tell_nothing(value: float | None, text: str) -> None:
    assert words.pounds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (0, "0 kWh"), (0.00159, "0.00159 kWh"), (43.01, "43.0 kWh"), (1250, "1.25 MWh")],
)
def test_energy_keeps_three_digits_that_tell_something(value: float | None, text: str) -> None:
    assert words.kilowatt_hours(value) == text


@pytest.mark.parametrize(
    ("minutes", "text"), [(0, "0 min"), (59, "59 min"), (60, "1 h"), (130, "2 h 10 min"), (3 * 1440, "3 days")]
)
def test_durations(minutes: int, text: str) -> None:
    assert words.duration(timedelta(minutes=minutes)) == text


def test_ages_and_what_is_stale() -> None:
    assert words.age(None, NOW) == "unknown age"
    assert words.age(NOW - timedelta(minutes=4), NOW) == "4 min old"
    assert not words.is_stale(NOW - timedelta(minutes=45), NOW)
    assert words.is_stale(NOW - timedelta(minutes=46), NOW)
    assert words.from_now(NOW + timedelta(hours=2), NOW) == "in 2 h"


def test_british_time_on_both_sides_of_a_clock_change() -> None:
    assert words.british_words(datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)) == "01:30 BST"
    assert words.british_words(datetime(2026, 10, 25, 1, 30, tzinfo=timezone.utc)) == "01:30 GMT"
    assert words.utc_words(NOW) == "Sun 22 Nov 08:04 UTC"


def test_constants_become_words() -> None:
    assert words.status_words("DEFERRED_GRID_STRESS") == "deferred: grid stress"
    assert words.status_words("RUNNING") == "running"
    assert words.status_words("RAG_QUERY") == "RAG query"
    assert words.source_words("synthetic") == "synthetic"
    assert words.source_words(None) == "no source"


def test_moments_that_a_program_wrote_are_told_as_people_write_them() -> None:
    told = words.told("it may not start after 2026-11-29T02:11:01.056954Z, nor at 2026-99-99T99:99Z.")
    assert told == "it may not start after Sun 29 Nov 02:11 UTC, nor at 2026-99-99T99:99Z."
    assert words.told(None) == ""


def test_a_sentence_begins_with_a_capital_and_names_keep_theirs() -> None:
    assert words.sentence("in Livingston, by NESO") == "In Livingston, by NESO"
    assert words.short_name("Livingston data centre, Brindlewater Cloud (fictional)") == "Livingston data centre"
