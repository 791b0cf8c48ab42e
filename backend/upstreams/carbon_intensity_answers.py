"""Rows of the Carbon Intensity API and one strict parser for each of its routes.

The API wraps its answers in four ways, so every route has a parser of its own and none guesses. Times are
`YYYY-MM-DDThh:mmZ`. Every number must be a JSON number: the API has never sent a string for one, so a string
would be a new fault and is rejected.

Source: the API's definitions at https://carbon-intensity.github.io/api-definitions/ and recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from grid.half_hours import rfc3339
from upstreams.credibility import is_lone_outlier, nearest_that_is_not_zero
from upstreams.json_values import (
    JsonObject,
    half_hour_from_to,
    list_at,
    number,
    object_at,
    read_rows,
    row_list,
    row_object,
    shown,
)
from upstreams.results import (
    FetchResult,
    Findings,
    ProblemKind,
    RejectedRow,
    Window,
    one_per_key,
    result_of,
)
from vocabulary import CarbonIndex, Fuel

# 1-14 are the distribution network licence areas, 15-17 England, Scotland and Wales.
REGION_IDS = range(1, 18)
# 18 is "GB": undocumented, always sent, and up to 173 g away from the national series.
GB_REGION_ID = 18

# All coal, the dirtiest fuel the API knows, is 937 gCO2/kWh; the highest recorded region is 594.
HIGHEST_GCO2_PER_KWH = 1000
# A mix is rounded to one decimal a fuel and sums to 99.8-100.2 when it is whole.
MIX_SUM_PERCENT = (99.0, 101.0)
# These fuels count as 0 g (imports may, by their country): only they can back an intensity of 0.
ZERO_CARBON_FUELS = (Fuel.WIND, Fuel.SOLAR, Fuel.HYDRO, Fuel.NUCLEAR, Fuel.IMPORTS)
CREDIBLE_ZERO_PERCENT = 99.0
# The nation's intensity has no mix beside it. A 0 is believed beside a figure that is low too.
CREDIBLE_BESIDE_ZERO_GCO2_PER_KWH = 50
# In all half-hours of 2020 none was further than 89 from both its neighbours.
FURTHEST_FROM_NEIGHBOURS_GCO2_PER_KWH = 100

_INDEX_WORDS = {str(word): word for word in CarbonIndex}
_FUEL_WORDS = {str(word): word for word in Fuel}


@dataclass(frozen=True)
class NationalIntensity:
    """Great Britain's carbon intensity in one half-hour.

    At least one of the two figures is there. Zero is a figure.

    Attributes:
        start: UTC start of the half-hour.
        carbon_intensity_gco2_per_kwh: the API's forecast.
        actual_carbon_intensity_gco2_per_kwh: its estimate once the half-hour is over (revised for up to a day).
        index: the API's own word for it.
    """

    start: datetime
    carbon_intensity_gco2_per_kwh: float | None
    actual_carbon_intensity_gco2_per_kwh: float | None
    index: CarbonIndex | None


@dataclass(frozen=True)
class RegionalIntensity:
    """One region's forecast carbon intensity and generation mix in one half-hour.

    Attributes:
        region_id: 1 to 17.
        start: UTC start of the half-hour.
        carbon_intensity_gco2_per_kwh: the forecast; 0 only where the mix bears it out.
        index: the API's own word for it.
        percent_by_fuel: the mix, in per cent of generation; empty where the API sent no usable one.
    """

    region_id: int
    start: datetime
    carbon_intensity_gco2_per_kwh: float
    index: CarbonIndex | None
    percent_by_fuel: Mapping[Fuel, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationMix:
    """Great Britain's generation mix in one half-hour, in per cent of generation."""

    start: datetime
    percent_by_fuel: Mapping[Fuel, float]


def parse_national(answer: object, window: Window, fetched_at: datetime) -> FetchResult[NationalIntensity]:
    """`/intensity/{from}/fw48h`, `/pt24h` and `/{to}`: `data` is a list of `{from, to, intensity}`.

    Raises:
        UnusableAnswer: it is not, or it holds no usable row.
    """
    findings = Findings()

    def national(row: JsonObject) -> NationalIntensity | None:
        start = half_hour_from_to(row)
        if not _is_wanted(start, window):
            return None
        return _national(start, row_object(row.get("intensity"), "intensity"), findings)

    rows = read_rows(list_at(answer, "data"), national, findings, named_by="from")
    kept = _believed(one_per_key(rows, lambda row: row.start, findings), findings)
    findings.note_missing_half_hours(window, (row.start for row in kept))
    return result_of(kept, findings, window, fetched_at)


def parse_regional(answer: object, window: Window, fetched_at: datetime) -> FetchResult[RegionalIntensity]:
    """`/regional/intensity/{from}/fw48h` and `/{to}`: `data` is a list of `{from, to, regions: [...]}`.

    Raises:
        UnusableAnswer: it is not, or it holds no usable row.
    """
    findings = Findings()

    def period(row: JsonObject) -> list[RegionalIntensity] | None:
        start = half_hour_from_to(row)
        if not _is_wanted(start, window):
            return None
        return _regions(start, row_list(row.get("regions"), "regions"), findings)

    periods = read_rows(list_at(answer, "data"), period, findings, named_by="from")
    rows = [row for regions in periods for row in regions]
    kept = one_per_key(rows, lambda row: (row.start, row.region_id), findings)
    _note_missing_regions(kept, findings)
    findings.note_missing_half_hours(window, (row.start for row in kept))
    return result_of(kept, findings, window, fetched_at)


def parse_generation(answer: object, window: Window, fetched_at: datetime) -> FetchResult[GenerationMix]:
    """`/generation`: `data` is ONE object `{from, to, generationmix}`, whatever the vendor's own page shows.

    Raises:
        UnusableAnswer: it is not, or it is not usable.
    """
    findings = Findings()
    rows = _mix_rows([object_at(answer, "data")], window, findings)
    return result_of(rows, findings, window, fetched_at)


def parse_generation_list(answer: object, window: Window, fetched_at: datetime) -> FetchResult[GenerationMix]:
    """`/generation/{from}/{to}`: `data` is a list of `{from, to, generationmix}`.

    Raises:
        UnusableAnswer: it is not, or it holds no usable row.
    """
    findings = Findings()
    rows = _mix_rows(list_at(answer, "data"), window, findings)
    findings.note_missing_half_hours(window, (row.start for row in rows))
    return result_of(rows, findings, window, fetched_at)


def _mix_rows(values: Sequence[object], window: Window, findings: Findings) -> list[GenerationMix]:
    def mix(row: JsonObject) -> GenerationMix | None:
        start = half_hour_from_to(row)
        if not _is_wanted(start, window):
            return None
        return GenerationMix(start, _mix(row.get("generationmix"), findings))

    rows = read_rows(values, mix, findings, named_by="from")
    return one_per_key(rows, lambda row: row.start, findings)


def _is_wanted(start: datetime, window: Window) -> bool:
    """Whether a row answers the question. Its direct neighbours come with some requests and are left out."""
    if window.holds(start):
        return True
    if window.touches(start):
        return False
    raise RejectedRow(ProblemKind.OUTSIDE_WINDOW, f"{rfc3339(start)} is not in {window}")


def _national(start: datetime, intensity: JsonObject, findings: Findings) -> NationalIntensity:
    actual = intensity.get("actual")
    forecast = intensity.get("forecast")
    if actual is not None:
        try:
            actual = _gco2_per_kwh(actual, "actual")
        except RejectedRow as verdict:
            findings.note(verdict.kind, verdict.why, rfc3339(start))
            actual = None
    if forecast is not None or actual is None:
        try:
            forecast = _gco2_per_kwh(forecast, "forecast")
        except RejectedRow as verdict:
            if actual is None:
                raise
            findings.note(verdict.kind, verdict.why, rfc3339(start))
            forecast = None
    return NationalIntensity(start, forecast, actual, _index(intensity.get("index"), start, findings))


def _believed(rows: list[NationalIntensity], findings: Findings) -> list[NationalIntensity]:
    """The rows without the figures that the ones beside them contradict, and without what is then empty.

    The index goes with such a figure, for it may be the word for it.
    """
    forecasts = {
        row.start: row.carbon_intensity_gco2_per_kwh for row in rows if row.carbon_intensity_gco2_per_kwh is not None
    }
    actuals = {
        row.start: row.actual_carbon_intensity_gco2_per_kwh
        for row in rows
        if row.actual_carbon_intensity_gco2_per_kwh is not None
    }
    believed = []
    for row in rows:
        forecast_is_wrong = _contradiction(forecasts, row.start, actuals)
        actual_is_wrong = _contradiction(actuals, row.start, forecasts)
        verdicts = [verdict for verdict in (forecast_is_wrong, actual_is_wrong) if verdict]
        forecast = None if forecast_is_wrong else row.carbon_intensity_gco2_per_kwh
        actual = None if actual_is_wrong else row.actual_carbon_intensity_gco2_per_kwh
        if forecast is None and actual is None:
            findings.reject(verdicts[0], rfc3339(row.start))
            continue
        for verdict in verdicts:
            findings.note(verdict.kind, verdict.why, rfc3339(row.start))
        believed.append(
            replace(
                row, carbon_intensity_gco2_per_kwh=forecast, actual_carbon_intensity_gco2_per_kwh=actual, index=None
            )
            if verdicts
            else row
        )
    return believed


def _contradiction(
    figures: Mapping[datetime, float], start: datetime, others: Mapping[datetime, float]
) -> RejectedRow | None:
    """Why a figure is not believed beside its neighbours and the other figure of its half-hour; None if it is."""
    figure, other = figures.get(start), others.get(start)
    if figure is None:
        return None
    if figure == 0:
        beside = nearest_that_is_not_zero(figures, start) if other is None else [other]
        if not beside or min(beside) > CREDIBLE_BESIDE_ZERO_GCO2_PER_KWH:
            return RejectedRow(ProblemKind.SPURIOUS_ZERO, f"0 beside {', '.join(map(str, beside)) or 'nothing'}")
    furthest = FURTHEST_FROM_NEIGHBOURS_GCO2_PER_KWH
    borne_out = other is not None and abs(figure - other) <= furthest
    if not borne_out and is_lone_outlier(figures, start, furthest):
        return RejectedRow(ProblemKind.LONE_OUTLIER, f"{figure} between neighbours more than {furthest} away")
    return None


def _regions(start: datetime, values: list[object], findings: Findings) -> list[RegionalIntensity]:
    def region(value: JsonObject) -> RegionalIntensity | None:
        region_id = value.get("regionid")
        if region_id == GB_REGION_ID:
            return None
        if isinstance(region_id, bool) or not isinstance(region_id, int) or region_id not in REGION_IDS:
            raise RejectedRow(ProblemKind.UNKNOWN_REGION, f"not within 1 to {REGION_IDS[-1]}")
        return _regional(region_id, start, value, findings)

    return read_rows(values, region, findings, named_by="regionid", within=rfc3339(start))


def _regional(region_id: int, start: datetime, region: JsonObject, findings: Findings) -> RegionalIntensity:
    intensity = row_object(region.get("intensity"), "intensity")
    forecast = _gco2_per_kwh(intensity.get("forecast"), "forecast")
    mix: Mapping[Fuel, float] = {}
    try:
        mix = _mix(region.get("generationmix"), findings)
    except RejectedRow as verdict:
        findings.note(verdict.kind, verdict.why, f"{rfc3339(start)} region {region_id}")
    if forecast == 0:
        _check_credible_zero(mix)
    index = _index(intensity.get("index"), start, findings)
    return RegionalIntensity(region_id, start, forecast, index, mix)


def _check_credible_zero(mix: Mapping[Fuel, float]) -> None:
    clean = sum(mix.get(fuel, 0.0) for fuel in ZERO_CARBON_FUELS)
    if clean < CREDIBLE_ZERO_PERCENT:
        raise RejectedRow(ProblemKind.INCREDIBLE_ZERO, f"forecast is 0 with {clean:.1f} % zero-carbon")


def _gco2_per_kwh(value: object, what: str) -> float:
    return number(value, what, 0, HIGHEST_GCO2_PER_KWH)


def _index(value: object, start: datetime, findings: Findings) -> CarbonIndex | None:
    """The index word; an unknown one is noted and left out, for the number says the same."""
    word = _INDEX_WORDS.get(value) if isinstance(value, str) else None
    if word is None:
        findings.note(ProblemKind.UNKNOWN_INDEX, f"index is {shown(value)}", rfc3339(start))
    return word


def _mix(value: object, findings: Findings) -> Mapping[Fuel, float]:
    """A whole generation mix. An unknown fuel counts towards the sum and is left out."""
    mix: dict[Fuel, float] = {}
    unknown_percent = 0.0
    for item in row_list(value, "generationmix"):
        entry = row_object(item, "the fuel")
        word = entry.get("fuel")
        percent = number(entry.get("perc"), f"{shown(word)} per cent", 0, 100)
        fuel = _FUEL_WORDS.get(word) if isinstance(word, str) else None
        if fuel is None:
            findings.note(ProblemKind.UNKNOWN_FUEL, f"fuel is {shown(word)}")
            unknown_percent += percent
        else:
            mix[fuel] = percent
    total = sum(mix.values()) + unknown_percent
    lowest, highest = MIX_SUM_PERCENT
    if not mix or not lowest <= total <= highest:
        raise RejectedRow(ProblemKind.BROKEN_MIX, f"the fuels sum to {total:.1f} %")
    for fuel in _FUEL_WORDS.values():
        if fuel not in mix:
            findings.note(ProblemKind.MISSING_FUEL, f"no {fuel}")
    return mix


def _note_missing_regions(rows: list[RegionalIntensity], findings: Findings) -> None:
    present: dict[datetime, set[int]] = {}
    for row in rows:
        present.setdefault(row.start, set()).add(row.region_id)
    for start, region_ids in present.items():
        missing = [region_id for region_id in REGION_IDS if region_id not in region_ids]
        if missing:
            findings.note(ProblemKind.MISSING_REGION, f"no region {missing[0]}", rfc3339(start), count=len(missing))
