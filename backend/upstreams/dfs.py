"""NESO's Demand Flexibility Service: what is required, every bid, and what was bought and settled.

Each file is downloaded whole: a plain download counts for nothing in the limits of the datastore, whose two calls a
minute the demand forecasts need. Every file has its own columns, which are checked. Supported by National Energy SO
Open Data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from grid.half_hours import HALF_HOUR, as_utc
from upstreams.dfs_rows import DfsBid, DfsRequirement, DfsRow, DfsSummary
from upstreams.errors import UnusableAnswer
from upstreams.json_values import JsonObject, read_rows
from upstreams.results import FetchResult, Findings, ProblemKind, RejectedRow, Window, one_per_key, result_of
from upstreams.row_models import read_row
from upstreams.session import Format, RetryPolicy, UpstreamClient, UpstreamSession

DATASET = "829e325f-8926-40ab-9dd6-8b7aea6cb244"
_ACTIONS = "/api/3/action"

_RowT = TypeVar("_RowT", bound=DfsRow)
_MORE_CELLS = "…"


def read_csv(body: bytes) -> object:
    """A file's records by its own column names. More cells than columns stand under "…".

    Raises:
        ValueError: it is no CSV in UTF-8.
    """
    text = body.decode("utf-8-sig")
    if text.lstrip().startswith("<"):
        raise ValueError("a page, not a file")
    try:
        return list(csv.DictReader(io.StringIO(text), restkey=_MORE_CELLS, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


CSV = Format("CSV", "text/csv", read_csv)


@dataclass(frozen=True)
class Resource(Generic[_RowT]):
    """One file of the service, and what its rows are.

    Attributes:
        key: what tells two rows apart; of two that it does not the later one counts. None: every row counts.
    """

    resource_id: str
    file: str
    model: type[_RowT]
    key: Callable[[_RowT], Hashable] | None

    @property
    def route(self) -> str:
        return f"/dataset/{DATASET}/resource/{self.resource_id}/download/{self.file}"

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(str(field.alias) for field in self.model.model_fields.values())


def _event_half_hour(row: DfsRow) -> Hashable:
    return row.event_ref, row.start


# The files of the service as it has been since April 2026. Those of the years before have other columns.
REQUIREMENTS = Resource(
    "3635fd80-49d7-4d02-964d-cc8c08d50302", "dfs-service-requirement.csv", DfsRequirement, _event_half_hour
)
BIDS = Resource("3ebf77d7-05df-466e-a023-dc45a90efeea", "dfs-utilisation-report.csv", DfsBid, None)
SUMMARIES = Resource(
    "705e573c-ddac-4675-b410-82916b35c4fe", "dfs-utilisation-report-summary.csv", DfsSummary, _event_half_hour
)


class DfsClient(UpstreamClient):
    """Reads the service's files. Safe to use from many threads.

    Every method raises an `UpstreamError` when nothing usable came, and `ValueError` for a time without a timezone.

    Args:
        neso_url: where the data portal's actions are; its files are beside them.
    """

    def __init__(self, neso_url: str, *, patience: RetryPolicy | None = None) -> None:
        portal = neso_url.rstrip("/").removesuffix(_ACTIONS)
        super().__init__(UpstreamSession("NESO data portal", portal, patience=patience or RetryPolicy()))

    def requirements(self, now: datetime) -> FetchResult[DfsRequirement]:
        """Every half-hour that was ever announced."""
        return self._whole_file(REQUIREMENTS, now)

    def bids(self, now: datetime) -> FetchResult[DfsBid]:
        """Every bid."""
        return self._whole_file(BIDS, now)

    def summaries(self, now: datetime) -> FetchResult[DfsSummary]:
        """Every half-hour with what was bought, and what was settled where that is known."""
        return self._whole_file(SUMMARIES, now)

    def _whole_file(self, resource: Resource[_RowT], now: datetime) -> FetchResult[_RowT]:
        parse = partial(parse_file, resource, fetched_at=as_utc(now))
        return self._session.fetch(resource.route, parse, written_as=CSV)


def parse_file(resource: Resource[_RowT], records: object, fetched_at: datetime) -> FetchResult[_RowT]:
    """The rows of a file, or of the same resource in the datastore.

    Raises:
        UnusableAnswer: a column is missing, or no row is usable.
    """
    findings = Findings()
    if not isinstance(records, list) or not records:
        raise UnusableAnswer("no record")
    _check_columns(resource, records[0], findings)

    def row(record: JsonObject) -> _RowT:
        if _MORE_CELLS in record:
            raise RejectedRow(ProblemKind.MALFORMED_ROW, "it has more cells than columns")
        return read_row(resource.model, record)

    rows = read_rows(records, row, findings, named_by="Event ID")
    if resource.key is not None:
        rows = one_per_key(rows, resource.key, findings)
    starts = [row.start for row in rows] or [as_utc(fetched_at)]
    return result_of(rows, findings, Window(min(starts), max(starts) + HALF_HOUR), fetched_at)


def _check_columns(resource: Resource[_RowT], record: object, findings: Findings) -> None:
    found = set(record) if isinstance(record, dict) else set()
    if missing := sorted(resource.columns - found):
        raise UnusableAnswer(f"the file lacks the columns {', '.join(missing)}")
    if unknown := sorted(found - resource.columns - {"_id", _MORE_CELLS}):
        findings.note(ProblemKind.UNKNOWN_COLUMN, ", ".join(unknown), count=len(unknown))
