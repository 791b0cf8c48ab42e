"""NESO's loss-of-load probability and de-rated margin, published by Elexon for the half-hours ahead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from upstreams.elexon_rows import read_labelled, start_in
from upstreams.json_values import JsonObject, moment
from upstreams.results import FetchResult, Findings, Window, one_per_key, result_of
from upstreams.row_models import Figure, RowModel, read_row


@dataclass(frozen=True)
class LossOfLoad:
    """How safe one half-hour ahead looks.

    Attributes:
        start: UTC start of the half-hour.
        published_at: when it was forecast.
        probability: that demand cannot be met, 0 to 1.
        derated_margin_mw: expected spare supply; below 0 there is too little.
        horizon_hours: how long ahead it was forecast, where that is told.
    """

    start: datetime
    published_at: datetime
    probability: Decimal
    derated_margin_mw: Decimal
    horizon_hours: int | None


class _Row(RowModel):
    """A row of `/forecast/system/loss-of-load`, as far as it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    loss_of_load_probability: Annotated[Figure, Field(ge=0, le=1)]
    derated_margin: Annotated[Figure, Field(ge=-100_000, le=200_000)]
    forecast_horizon: Annotated[int, Field(ge=0, le=1_000)] | None = None


def parse_loss_of_load(answer: object, window: Window, fetched_at: datetime) -> FetchResult[LossOfLoad]:
    """Half-hours of `window`; of several issues for one the one published last counts.

    Raises:
        UnusableAnswer: no list of rows, or none usable.
    """
    findings = Findings()

    def forecast(row: JsonObject) -> LossOfLoad:
        start = start_in(row, window)
        figures = read_row(_Row, row)
        return LossOfLoad(
            start,
            moment(row.get("publishTime"), "publishTime"),
            figures.loss_of_load_probability,
            figures.derated_margin,
            figures.forecast_horizon,
        )

    every_issue = read_labelled(answer, forecast, findings)
    latest: dict[datetime, datetime] = {}
    for issue in every_issue:
        latest[issue.start] = max(issue.published_at, latest.get(issue.start, issue.published_at))
    newest = [issue for issue in every_issue if issue.published_at == latest[issue.start]]
    return result_of(one_per_key(newest, lambda row: row.start, findings), findings, window, fetched_at)
