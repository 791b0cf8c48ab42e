"""Whole answers of the upstreams, as the parsers meet them: a set of our own making, and the recorded ones.

Licences keep recorded answers out of the repository; PYLON_RECORDED_DIR names a folder of them where there is one.
Our own have the same shape, quirks included, under the same names, and numbers that a formula makes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from grid.half_hours import UTC, settlement_period_start
from upstream_payloads import (
    Json,
    data,
    each_half_hour,
    from_to,
    fuels,
    generation_row,
    national_row,
    period,
    region,
    settled,
)


@dataclass(frozen=True)
class Recordings:
    """A set of answers by their path."""

    name: str
    text_of: Callable[[str], str]

    def __str__(self) -> str:
        return self.name

    def document(self, path: str) -> object:
        return json.loads(self.text_of(path))

    def rows(self, path: str, *names: str) -> list[dict[str, object]]:
        """The list under these names."""
        rows = self.document(path)
        for name in names:
            assert isinstance(rows, dict)
            rows = rows[name]
        assert isinstance(rows, list)
        return rows

    def records(self, path: str) -> list[dict[str, str]]:
        """The lines of a CSV file."""
        return list(csv.DictReader(io.StringIO(self.text_of(path))))

    def datastore(self, path: str) -> Json:
        """A CSV file as the datastore would answer it, every column a string."""
        records = self.records(path)
        return {"success": True, "result": {"records": records, "total": len(records)}}


def recordings() -> list[Recordings]:
    """Our own set and, where there is one, the recorded one."""
    sets = [Recordings("made up", lambda path: _MADE_UP[path]())]
    if folder := os.environ.get("PYLON_RECORDED_DIR"):
        sets.append(Recordings("recorded", lambda path: (Path(folder) / path).read_text()))
    return sets


def _wave(start: datetime, low: float, high: float, *, at_hour: float = 18) -> int:
    """A whole number between the two that is highest at this hour of each day."""
    hours = start.hour + start.minute / 60
    share = (1 + math.cos((hours - at_hour) * math.pi / 12)) / 2
    return round(low + share * (high - low))


def _index_of(gco2_per_kwh: int) -> str:
    bounds = ((35, "very low"), (110, "low"), (190, "moderate"), (270, "high"))
    return next((word for bound, word in bounds if gco2_per_kwh < bound), "very high")


def _intensity(start: datetime, *, over: bool = False) -> Json:
    forecast = _wave(start, 62, 231)
    return national_row(start, forecast, forecast - 7 if over else None, _index_of(forecast))


def _mix(start: datetime, region_id: int) -> dict[str, float]:
    """Nine percentages that sum to 100; the share of gas is what wind leaves."""
    wind = _wave(start, 11, 47, at_hour=3) + region_id * 0.6
    small: dict[str, float] = {"biomass": 6.3, "coal": 0, "imports": 9.8, "nuclear": 13.4, "other": 0, "hydro": 1.7}
    gas = round(100 - sum(small.values()) - wind - 2.1, 1)
    return {**small, "gas": gas, "solar": 2.1, "wind": round(wind, 1)}


CALM_NORTH: Mapping[str, float] = {**dict.fromkeys(_mix(datetime(2026, 1, 1, tzinfo=UTC), 1), 0), "wind": 88.6}
NORTH = {**CALM_NORTH, "hydro": 11.4}
SPURIOUS = range(20, 24)
"""The half-hours of a day at which our London has no intensity and burns gas all the same."""


def _regions(start: datetime, number: int, *, spurious: bool) -> Json:
    each: list[Json] = []
    for region_id in range(1, 19):
        intensity = _wave(start, 40, 90 + 9 * region_id)
        mix: Mapping[str, object] = _mix(start, region_id)
        if spurious and region_id == 13 and number in SPURIOUS:
            intensity = 0
        elif not spurious and region_id in {1, 2, 16}:
            intensity, mix = 0, NORTH
        each.append(region(region_id, intensity, mix, _index_of(intensity)))
    return period(start, each)


def _regional(start: datetime, periods: int, *, spurious: bool) -> Json:
    starts = each_half_hour(start, periods)
    return data([_regions(at, number, spurious=spurious) for number, at in enumerate(starts)])


def _one_region(start: datetime) -> Json:
    halves: list[Json] = []
    for at in each_half_hour(start, 48):
        forecast = _wave(at, 55, 205)
        mix = fuels(_mix(at, 13))
        halves.append(
            {
                **from_to(at),
                "intensity": {"forecast": forecast, "index": _index_of(forecast)},
                "generationmix": mix,
            }
        )
    return data({"regionid": 13, "dnoregion": "Network 13", "shortname": "Region 13", "data": halves})


SUMMER_DAY = date(2026, 6, 15)
POINTS = (
    ("1F", "F", 30, 30, 20_150),
    ("1S", "T", 100, 130, 19_720),
    ("1A", "P", 200, 230, 19_540),
    ("4", "F", 400, 400, 18_060),
    ("1B", "T", 430, 700, 17_480),
    ("2F", "F", 800, 800, 24_310),
    ("2A", "P", 830, 1200, 26_880),
    ("2B", "P", 1230, 1300, 25_230),
    ("3B", "T", 1330, 1600, 23_610),
    ("3C", "P", 1700, 1830, 28_740),
    ("4B", "P", 1900, 2000, 29_390),
    ("4C", "F", 2400, 2400, 20_470),
)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _cardinal_points() -> str:
    columns = [
        "DAYSAHEAD",
        "TARGETDATE",
        "FORECASTDEMAND",
        "CARDINALPOINT",
        "CP_TYPE",
        "CP_ST_TIME",
        "CP_END_TIME",
        "F_Point",
    ]
    day = f"{SUMMER_DAY:%Y%m%d}"
    return _csv(columns, [(1, day, mw, name, kind, first, last, "") for name, kind, first, last, mw in POINTS])


def _half_hourly_demand() -> str:
    rows = []
    for number, at in enumerate(each_half_hour(settlement_period_start(SUMMER_DAY, 1), 48), 1):
        end = at + timedelta(minutes=30)
        rows.append(
            (SUMMER_DAY, number // 2 * 100 + number % 2 * 30, f"{end:%Y-%m-%dT%H:%M:%S}", _wave(at, 17_000, 29_000))
        )
    return _csv(["DATE", "CTIME", "GDATETIME", "NATIONALDEMAND"], rows)


def _foreign_records() -> Json:
    """Records of another file behind the datastore's envelope."""
    records = [{"_id": n, "dtm": f"2026-06-15T00:00:0{n}", "f": f"49.{960 + n}"} for n in range(6)]
    return {"help": "…", "success": True, "result": {"records": records, "fields": [], "resource_id": "frequency"}}


def _market_index(start: datetime) -> Json:
    common = {"dataset": "MID", **settled(start)}
    return data(
        [
            {**common, "dataProvider": "APXMIDP", "price": 71.36, "volume": 1204.85},
            {**common, "dataProvider": "N2EXMIDP", "price": 0.0, "volume": 0.0},
        ]
    )


def _demand_issues(first: datetime) -> Json:
    """Two issues of a forecast, the newer first; they share all half-hours but one."""
    rows = []
    for issue, moved in ((first + timedelta(minutes=49), 0), (first + timedelta(minutes=16), -1)):
        for at in each_half_hour(first + timedelta(hours=1, minutes=30 * moved), 4):
            row = {"dataset": "NDF", "demand": _wave(at, 17_000, 29_000) + 40 * moved, **settled(at), "boundary": "N"}
            rows.append({**row, "publishTime": f"{issue:%Y-%m-%dT%H:%M:%SZ}"})
    return data(rows)


def _outturns(first: datetime) -> Json:
    """The newest first, as they are sent."""
    rows = [
        {"dataset": "INDO", "demand": _wave(at, 17_000, 29_000), **settled(at)} for at in each_half_hour(first, 3)
    ]
    return data(rows[::-1])


def _error(code: str, message: str) -> Json:
    return {"error": {"code": code, "message": message}}


NIGHT = datetime(2026, 2, 9, 23, 30, tzinfo=UTC)
MORNING = datetime(2026, 6, 15, 9, 0, tzinfo=UTC)


def _json(answer: Json) -> Callable[[], str]:
    return lambda: json.dumps(answer)


_MADE_UP: Mapping[str, Callable[[], str]] = {
    "carbon_intensity/intensity.json": _json(data([_intensity(NIGHT)])),
    "carbon_intensity/intensity_fw48h_97_rows.json": _json(
        data([_intensity(at) for at in each_half_hour(MORNING, 97)])
    ),
    "carbon_intensity/intensity_with_actuals.json": _json(
        data([_intensity(at, over=True) for at in each_half_hour(NIGHT, 7)])
    ),
    "carbon_intensity/regional.json": _json(_regional(MORNING, 1, spurious=True)),
    "carbon_intensity/regional_intensity_48_periods.json": _json(_regional(NIGHT, 48, spurious=True)),
    "carbon_intensity/regional_intensity_fw24h_2_periods_2026.json": _json(_regional(NIGHT, 2, spurious=False)),
    "carbon_intensity/regional_intensity_fw24h_regionid_13.json": _json(_one_region(NIGHT)),
    "carbon_intensity/generation.json": _json(data(generation_row(MORNING, _mix(MORNING, 1)))),
    "carbon_intensity/generation_pt24h_8_rows.json": _json(
        data([generation_row(at, _mix(at, 1)) for at in each_half_hour(MORNING, 8)])
    ),
    "carbon_intensity/error_500.json": _json(_error("500 Internal Server Error", "It did not work.")),
    "carbon_intensity/error_400_content_type.json": _json(_error("400 Bad Request", "That is no media type.")),
    "carbon_intensity/error_200_empty_object.json": _json({}),
    "neso/day_ahead_demand_20261009.csv": _cardinal_points,
    "neso/demand_2_14_day_half_hourly_20261010.csv": _half_hourly_demand,
    "neso/datastore_envelope_2021.json": _json(_foreign_records()),
    "elexon/market_index_mid_2_rows.json": _json(_market_index(MORNING)),
    "elexon/day_ahead_demand_ndf.json": _json(_demand_issues(MORNING)),
    "elexon/demand_outturn_indo.json": _json(_outturns(MORNING)),
}
