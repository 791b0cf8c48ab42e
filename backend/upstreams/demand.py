"""National demand, the row that NESO's and Elexon's routes share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from grid.half_hours import rfc3339
from upstreams.credibility import is_lone_outlier
from upstreams.results import Findings, ProblemKind, RejectedRow

# The national demand of Great Britain runs from about 16 to 45 GW; the record is 62 GW (December 2002), and
# more embedded solar every summer lowers the trough.
LOWEST_MW = 4_000
HIGHEST_MW = 80_000
# Demand moves by 2 to 3 GW in a steep half-hour.
FURTHEST_FROM_NEIGHBOURS_MW = 10_000


@dataclass(frozen=True)
class NationalDemand:
    """Great Britain's national demand (ND) in one half-hour.

    Attributes:
        start: UTC start of the half-hour.
        demand_mw: average power in MW; never 0, which is how the sources write "missing".
        is_interpolated: lies on our curve between NESO's cardinal points; False for a published figure.
    """

    start: datetime
    demand_mw: float
    is_interpolated: bool = False


def reject_zero(value: object, what: str) -> None:
    """Reject a 0, in any spelling: no half-hour of Great Britain has no demand.

    Raises:
        RejectedRow: it is one.
    """
    spelled_zero = isinstance(value, str) and value.strip() in ("0", "0.0")
    if spelled_zero or (value == 0 and not isinstance(value, bool)):
        raise RejectedRow(ProblemKind.MISSING_VALUE, f"{what} is 0, which means missing")


def without_outliers(rows: list[NationalDemand], findings: Findings) -> list[NationalDemand]:
    """The half-hourly rows but for those that no demand can jump to and back from."""
    figures = {row.start: row.demand_mw for row in rows}
    believed = []
    for row in rows:
        if is_lone_outlier(figures, row.start, FURTHEST_FROM_NEIGHBOURS_MW):
            why = f"{row.demand_mw} MW between neighbours more than {FURTHEST_FROM_NEIGHBOURS_MW} MW away"
            findings.reject(RejectedRow(ProblemKind.LONE_OUTLIER, why), rfc3339(row.start))
        else:
            believed.append(row)
    return believed
