"""The margin ahead: the latest issue of every half-hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from balancing_payloads import loss_of_load_row
from grid.half_hours import HALF_HOUR, UTC
from upstream_payloads import Json, metadata_and
from upstreams.errors import UnusableAnswer
from upstreams.loss_of_load import parse_loss_of_load
from upstreams.results import ProblemKind, Window

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
WINDOW = Window(SLOT, SLOT + timedelta(hours=48))


def test_of_several_issues_the_one_published_last_counts() -> None:
    early, late = SLOT - timedelta(hours=12), SLOT - timedelta(hours=1)
    rows = [loss_of_load_row(SLOT, Decimal("0.02"), -150, late), loss_of_load_row(SLOT, 0, 900, early)]
    (row,) = parse_loss_of_load(metadata_and(rows), WINDOW, NOW).rows
    assert (row.probability, row.derated_margin_mw) == (Decimal("0.02"), Decimal(-150))
    assert (row.published_at, row.horizon_hours) == (late, 12)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"lossOfLoadProbability": Decimal("1.5")}, ProblemKind.IMPLAUSIBLE),
        ({"lossOfLoadProbability": None}, ProblemKind.MISSING_VALUE),
        ({"deratedMargin": "plenty"}, ProblemKind.NOT_A_NUMBER),
        ({"publishTime": None}, ProblemKind.MALFORMED_TIME),
        ({"forecastHorizon": -1}, ProblemKind.IMPLAUSIBLE),
    ],
)
def test_a_row_that_is_not_right_costs_itself_and_no_other(change: Json, kind: ProblemKind) -> None:
    rows = [{**loss_of_load_row(SLOT, 0, 1), **change}, loss_of_load_row(SLOT + HALF_HOUR, 0, 1)]
    result = parse_loss_of_load(metadata_and(rows), WINDOW, NOW)
    assert [row.start for row in result.rows] == [SLOT + HALF_HOUR]
    assert [problem.kind for problem in result.problems] == [kind]


def test_nothing_is_no_answer() -> None:
    with pytest.raises(UnusableAnswer):
        parse_loss_of_load(metadata_and([]), WINDOW, NOW)
