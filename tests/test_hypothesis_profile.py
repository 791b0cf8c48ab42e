"""A test with examples fails for what the code does, and never for how long the machine took."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from few_examples import everyday, is_everyday
from hypothesis_profile import NOT_BY_THE_CLOCK

TESTS = Path(__file__).parent


@st.composite
def slow_numbers(draw: st.DrawFn) -> int:
    """Numbers as a busy machine draws them: ten take the two seconds after which Hypothesis would complain."""
    time.sleep(0.2)
    return draw(st.integers())


@settings(max_examples=12)
@given(slow_numbers())
def test_a_slow_machine_fails_no_test(number: int) -> None:
    time.sleep(0.25)  # longer than Hypothesis's own deadline for an example
    assert number == number + 0


def test_the_profile_is_the_default() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert set(NOT_BY_THE_CLOCK) <= set(settings.default.suppress_health_check)
    assert HealthCheck.filter_too_much not in settings.default.suppress_health_check


def test_no_test_goes_back_to_judging_by_the_clock() -> None:
    """An own `suppress_health_check` replaces the profile's, so it has to be one of the profile's."""
    for file in TESTS.rglob("test_*.py"):
        if file == Path(__file__):
            continue
        text = file.read_text()
        assert set(re.findall(r"\bsuppress_health_check=([^,)]+)", text)) <= {"SHARES_A_FIXTURE", "FILTERS_MUCH"}, (
            file
        )
        assert not re.search(r"@settings\([^)]*deadline=(?!None\b)", text), file


TRIED: list[int] = []


@settings(max_examples=200)
@given(st.integers(0, 10**9))
def test_numbers_are_tried(number: int) -> None:
    TRIED.append(number)


def test_the_everyday_suite_tries_a_quarter_of_the_examples(request: pytest.FixtureRequest) -> None:
    asked = everyday(200) if is_everyday(request.config.option.markexpr) else 200
    assert len(TRIED) in {0, asked}  # none where this test runs alone
    assert [everyday(asked) for asked in (400, 100, 40, 12)] == [100, 25, 25, 12]
