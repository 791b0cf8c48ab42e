"""The one Hypothesis profile: nothing is judged by the clock, and CI tries the same examples every time.

A busy machine draws and runs examples slowly; that says nothing about the code under test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NOT_BY_THE_CLOCK = (HealthCheck.too_slow, HealthCheck.data_too_large)

SHARES_A_FIXTURE = (*NOT_BY_THE_CLOCK, HealthCheck.function_scoped_fixture)
"""For a test whose examples have one fixture between them and mean to."""

FILTERS_MUCH = (*NOT_BY_THE_CLOCK, HealthCheck.filter_too_much)
"""For a test of what only a few of its examples get to."""


def load_profile() -> None:
    """Make it the default. Decorators read the default as modules are imported, so this comes before the tests."""
    settings.register_profile(
        "pylon",
        deadline=None,
        suppress_health_check=NOT_BY_THE_CLOCK,
        derandomize=bool(os.environ.get("CI")),
        print_blob=True,
    )
    settings.load_profile("pylon")
