"""The charts of the grid, drawn from its history and forecast in columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from api.grid_series import GridHistory
from dashboard.charts import Chart, Layer, Line, Threshold, line_chart, shares_bar, stacked_area
from dashboard.time_axis import TimeAxis
from dashboard.words import figure, from_now, number, source_words, utc_words
from decisions.scoring.feasibility import NO_RUN_STRESS
from grid.half_hours import HALF_HOUR
from vocabulary import Fuel, SignalSource

Word = TypeVar("Word")

FUELS = (
    Fuel.NUCLEAR,
    Fuel.GAS,
    Fuel.COAL,
    Fuel.BIOMASS,
    Fuel.HYDRO,
    Fuel.WIND,
    Fuel.SOLAR,
    Fuel.IMPORTS,
    Fuel.OTHER,
)
"""From the bottom of a stack to its top, always in this order."""

FEW_HALF_HOURS = 6
_MEASURED = {SignalSource.CARBON_INTENSITY_API, SignalSource.NESO, SignalSource.ELEXON}
_HOURS = 3600


@dataclass(frozen=True)
class KeyEntry:
    """A name in a chart's key, and how it is drawn there."""

    label: str
    css_class: str
    is_layer: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart and what stands above it."""

    name: str
    title: str
    unit: str
    drawn: Markup
    key: tuple[KeyEntry, ...]
    sources: str


def grid_panels(history: GridHistory, axis: TimeAxis) -> list[Panel]:
    """Of the nation: carbon, demand, stress, price and mix; of a region: carbon and mix."""
    panels = [carbon_panel(history, axis)]
    if history.region_id is None:
        panels += [price_panel(history, axis), demand_panel(history, axis), stress_panel(history, axis)]
    return [*panels, mix_panel(history, axis)]


def carbon_panel(history: GridHistory, axis: TimeAxis) -> Panel:
    """Forecast, and the actual figures of the half-hours that are over."""
    sources = spread(history.carbon_source_changes, history.half_hours)
    forecast = Line(history.carbon_intensity_forecast_gco2, "line-1", "forecast", _is_measured(sources))
    estimated = [False] * history.half_hours if history.actual_is_estimated else None
    actual = Line(history.carbon_intensity_actual_gco2, "line-2", "actual", estimated)
    unit = "gCO₂/kWh"
    sentence = _of_extremes("Carbon intensity", forecast.values, axis, unit)
    drawn = line_chart(Chart(axis, unit, sentence, 150), [forecast, actual])
    label = "actual, estimated from the nation's" if history.actual_is_estimated else "actual"
    dashes = "dashed" if history.actual_is_estimated else "solid"
    key = (
        KeyEntry("forecast", "line-1 solid"),
        KeyEntry(label, f"line-2 {dashes}"),
        *_modelled_key(sources, "line-1"),
    )
    return Panel("carbon", "Carbon intensity", unit, drawn, key, _sources_in_words(sources))


def demand_panel(history: GridHistory, axis: TimeAxis) -> Panel:
    sources = spread(history.demand_source_changes, history.half_hours)
    gigawatts = [None if value is None else value / 1000 for value in history.demand_mw]
    demand = Line(gigawatts, "line-1", "demand", _is_measured(sources))
    sentence = _of_extremes("National demand", gigawatts, axis, "GW", 1)
    drawn = line_chart(Chart(axis, "GW", sentence, 110), [demand])
    key = (KeyEntry("demand", "line-1 solid"), *_modelled_key(sources, "line-1"))
    return Panel("demand", "Demand", "GW", drawn, key, _sources_in_words(sources))


def stress_panel(history: GridHistory, axis: TimeAxis) -> Panel:
    sources = spread(history.demand_source_changes, history.half_hours)
    stress = Line(history.grid_stress_score, "line-3", "stress", _is_measured(sources))
    mask = Threshold(NO_RUN_STRESS, f"only critical work runs above {NO_RUN_STRESS}")
    sentence = _of_extremes("Grid stress", stress.values, axis, "of 1", 2)
    drawn = line_chart(Chart(axis, "of 1", sentence, 90, (mask,)), [stress])
    key = (KeyEntry("stress", "line-3 solid"), *_modelled_key(sources, "line-3"))
    return Panel("stress", "Grid stress", "0 to 1, from demand", drawn, key, _sources_in_words(sources))


def price_panel(history: GridHistory, axis: TimeAxis) -> Panel:
    sources = spread(history.price_source_changes, history.half_hours)
    price = Line(history.wholesale_price_gbp_mwh, "line-2", "price", _is_measured(sources))
    sentence = _of_extremes("Wholesale price", price.values, axis, "£/MWh")
    drawn = line_chart(Chart(axis, "£/MWh", sentence, 120), [price])
    key = (KeyEntry("outturn", "line-2 solid"), *_modelled_key(sources, "line-2"))
    return Panel("price", "Wholesale price", "£/MWh", drawn, key, _sources_in_words(sources))


def mix_panel(history: GridHistory, axis: TimeAxis) -> Panel:
    """Every fuel's share. The nation's is published for what is over, a region's for what comes.

    As long as hardly any half-hour is known, the newest of them as one bar: an empty chart would tell nothing.
    """
    sources = spread(history.mix_source_changes, history.half_hours)
    nothing = [None] * history.half_hours
    layers = [
        Layer(history.generation_mix.get(fuel, nothing), f"fuel-{fuel}", str(fuel))
        for fuel in FUELS
        if any(history.generation_mix.get(fuel, nothing))
    ]
    known = [slot for slot in range(history.half_hours) if any(layer.values[slot] is not None for layer in layers)]
    is_young = 0 < len(known) <= FEW_HALF_HOURS
    present = known[-1] if is_young else axis.number_of(axis.now)
    shares = sorted(
        ((layer.values[present], layer.label) for layer in layers if layer.values[present] is not None),
        key=lambda share: -(share[0] or 0),
    )
    told = ", ".join(f"{label} {number(share)} %" for share, label in shares[:4]) or "unknown"
    if is_young:
        drawn = shares_bar(layers, present, f"Generation mix, newest known {told}")
    else:
        drawn = stacked_area(Chart(axis, "%", f"Generation mix, now {told}", 150), layers, highest=100)
    key = tuple(
        KeyEntry(f"{layer.label}{_share(layer.values[present])}", layer.css_class, is_layer=True)
        for layer in (layers if is_young else reversed(layers))
    )
    unit = f"% at {utc_words(axis.start + present * HALF_HOUR)}, all that is known yet" if is_young else "%"
    return Panel("mix", "Generation mix", unit, drawn, key, _sources_in_words(sources))


def spread(changes: Sequence[tuple[int, Word | None]], half_hours: int) -> list[Word | None]:
    """One word a half-hour, of where it changes: [[0, a], [2, b]] over 3 half-hours is a, a, b."""
    found: list[Word | None] = [None] * half_hours
    for (first, word), (following, _) in zip(changes, [*changes[1:], (half_hours, None)], strict=True):
        found[first:following] = [word] * (following - first)
    return found


def _share(value: float | None) -> str:
    return "" if value is None else f" {number(value)} %"


def _is_measured(sources: Sequence[SignalSource | None]) -> list[bool]:
    return [source in _MEASURED for source in sources]


def _modelled_key(sources: Sequence[SignalSource | None], css_class: str) -> tuple[KeyEntry, ...]:
    """Dashes are in the key where there are any, with the word for what they are."""
    kinds = [str(kind) for kind in (SignalSource.MODELLED, SignalSource.SYNTHETIC) if kind in sources]
    return (KeyEntry(" or ".join(kinds), f"{css_class} dashed"),) if kinds else ()


def _sources_in_words(sources: Sequence[SignalSource | None]) -> str:
    """`NESO for 36 h, modelled for 36 h`; half-hours without a figure are not counted."""
    counts = {source: sources.count(source) for source in SignalSource if source in sources}
    if not counts:
        return "no source"
    if len(counts) == 1:
        return source_words(next(iter(counts)))
    hours = HALF_HOUR.total_seconds() / _HOURS
    return ", ".join(f"{source_words(source)} for {count * hours:g} h" for source, count in counts.items())


def _of_extremes(what: str, values: Sequence[float | None], axis: TimeAxis, unit: str, decimals: int = 0) -> str:
    """One sentence for whoever does not see the curve."""
    present = axis.number_of(axis.now)
    ahead = [
        (value, axis.start + place * HALF_HOUR)
        for place, value in enumerate(values)
        if value is not None and place >= present
    ]
    if not ahead:
        return f"{what}: unknown from now on"
    low, high = min(ahead), max(ahead)
    now = figure(values[present], unit, decimals)
    return (
        f"{what} now {now}; lowest {number(low[0], decimals)} at {utc_words(low[1])} ({from_now(low[1], axis.now)}), "
        f"highest {number(high[0], decimals)} at {utc_words(high[1])}"
    )
