"""What the first page tells of the work: the newest workloads, and what deciding saved in a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from api.savings import ComparedAnswer, SavingsQuery, read_savings
from database.interface import Database, OrderBy
from ontology.objects import read_rows
from ontology.types import ComputeWorkload, ObjectType
from tenancy.principals import Principal
from tenancy.scopes import Scope

NEWEST = 4
LOOKED_AT = 30
"""So many of the newest are looked at for such that somebody submitted; they come before the invented ones."""

EXAMPLE = {
    "workload_type": "FINE_TUNING",
    "urgency": "LOW",
    "required_gpu_mins": "2400",
    "deferral_window_mins": "720",
}
"""A workload to try the form with: forty hours of a GPU that may wait half a day."""


@dataclass(frozen=True)
class NewestWork:
    """Of one caller.

    Attributes:
        newest: workloads, the newest first; those that were invented after the others.
        saved: of the runs of the last week that can be compared; None where there is none.
    """

    newest: Sequence[ObjectType]
    saved: ComparedAnswer | None


def read_newest_work(
    database: Database, caller: Principal | None, now: datetime, carbon_price_gbp_per_t: float
) -> NewestWork | None:
    """What the caller's work is at; None for one who may not see work.

    Raises:
        DatabaseError: the database does not answer.
    """
    if caller is not None and Scope.WORKLOADS_READ not in caller.scopes:
        return None
    order = OrderBy(("created_at", "job_id"), descending=True)
    rows = database.select(ComputeWorkload.table, order=order, limit=LOOKED_AT)
    first = sorted(rows, key=lambda row: bool(row["is_synthetic"]))[:NEWEST]
    savings = read_savings(database, SavingsQuery(), now, carbon_price_gbp_per_t)
    return NewestWork(read_rows(ComputeWorkload, first), savings.total.compared)
