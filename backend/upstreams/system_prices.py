"""Elexon's system price: the single imbalance price of a half-hour, which is revised for more than a year.

Every settlement run states it anew and the API shows the latest only, so whoever wants them all asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from upstreams.elexon_rows import read_labelled, start_in
from upstreams.json_values import JsonObject, list_at, moment
from upstreams.results import FetchResult, Findings, ProblemKind, RejectedRow, Window, one_per_key, result_of
from upstreams.row_models import Figure, RowModel, read_row

# The cap is the value of lost load, £6,000/MWh; the lowest were about -£200.
Price = Annotated[Figure, Field(ge=-10_000, le=100_000)]
VolumeMwh = Annotated[Figure, Field(ge=-100_000, le=100_000)]


@dataclass(frozen=True)
class SystemPrice:
    """The imbalance price of one half-hour as one settlement run found it. Exact, as it was sent.

    Attributes:
        start: UTC start of the half-hour.
        published_at: when the run made it.
        price_gbp_per_mwh: what imbalance is bought and sold at; may be negative.
        net_imbalance_volume_mwh: above 0 the system was short.
        reserve_scarcity_price_gbp_per_mwh: what short reserve would have been worth.
        derivation_code: Elexon's letters for how the price came about, such as N or P.
        bsad_defaulted: whether the balancing services data was a default.
    """

    start: datetime
    published_at: datetime
    price_gbp_per_mwh: Decimal
    net_imbalance_volume_mwh: Decimal | None
    reserve_scarcity_price_gbp_per_mwh: Decimal | None
    derivation_code: str | None
    bsad_defaulted: bool | None


class _Row(RowModel):
    """A row of `/balancing/settlement/system-prices/{date}`, as far as it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    system_sell_price: Price
    system_buy_price: Price
    net_imbalance_volume: VolumeMwh | None = None
    reserve_scarcity_price: Price | None = None
    price_derivation_code: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,8}$")] | None = None
    bsad_defaulted: Annotated[bool, Field(strict=True)] | None = None


def parse_system_prices(answer: object, window: Window, fetched_at: datetime) -> FetchResult[SystemPrice]:
    """One settlement date's half-hours, as far as they are known: a day that has just begun has none.

    Of several runs for one half-hour the one published last counts.

    Raises:
        UnusableAnswer: no list of rows, or rows of which none is usable.
    """
    findings = Findings()
    if not list_at(answer, "data"):
        return FetchResult((), (), window, fetched_at)

    def price(row: JsonObject) -> SystemPrice:
        start = start_in(row, window)
        figures = read_row(_Row, row)
        if figures.system_sell_price != figures.system_buy_price:
            # Great Britain has had a single price since November 2015.
            why = f"sell price {figures.system_sell_price} is not the buy price {figures.system_buy_price}"
            raise RejectedRow(ProblemKind.TWO_PRICES, why)
        return SystemPrice(
            start,
            moment(row.get("createdDateTime"), "createdDateTime"),
            figures.system_sell_price,
            figures.net_imbalance_volume,
            figures.reserve_scarcity_price,
            figures.price_derivation_code,
            figures.bsad_defaulted,
        )

    rows = read_labelled(answer, price, findings)
    # Of two runs for one half-hour the later counts, whatever order they come in.
    rows.sort(key=lambda row: row.published_at)
    return result_of(one_per_key(rows, lambda row: row.start, findings), findings, window, fetched_at)
