"""Small answers of the same shape as the three upstream APIs send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

from grid.half_hours import HALF_HOUR, settlement_date, settlement_period

Json = dict[str, object]

CALM_MIX: Mapping[str, float] = {
    "biomass": 6.2,
    "coal": 0,
    "imports": 12.5,
    "gas": 31.3,
    "nuclear": 14,
    "other": 0.4,
    "hydro": 1.1,
    "solar": 4.5,
    "wind": 30,
}
WINDY_MIX: Mapping[str, float] = {**dict.fromkeys(CALM_MIX, 0), "wind": 92.4, "hydro": 7.6}


def minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"


def from_to(start: datetime) -> Json:
    return {"from": minute(start), "to": minute(start + HALF_HOUR)}


def national_row(start: datetime, forecast: object = 142, actual: object = None, index: object = "moderate") -> Json:
    return {**from_to(start), "intensity": {"forecast": forecast, "actual": actual, "index": index}}


def fuels(mix: Mapping[str, object]) -> list[Json]:
    return [{"fuel": fuel, "perc": perc} for fuel, perc in mix.items()]


def region(
    region_id: object,
    forecast: object = 142,
    mix: Mapping[str, object] = CALM_MIX,
    index: object = "moderate",
) -> Json:
    return {
        "regionid": region_id,
        "dnoregion": f"Network {region_id}",
        "shortname": f"Region {region_id}",
        "intensity": {"forecast": forecast, "index": index},
        "generationmix": fuels(mix),
    }


def period(start: datetime, regions: Sequence[object] | None = None) -> Json:
    """A period of the regional routes: by default all 18 regions that the API sends."""
    return {**from_to(start), "regions": [region(n) for n in range(1, 19)] if regions is None else regions}


def generation_row(start: datetime, mix: Mapping[str, object] = CALM_MIX) -> Json:
    return {**from_to(start), "generationmix": fuels(mix)}


def data(rows: object) -> Json:
    return {"data": rows}


def each_half_hour(start: datetime, count: int) -> list[datetime]:
    return [start + n * HALF_HOUR for n in range(count)]


def datastore(records: Sequence[object], total: int | None = None) -> Json:
    return {
        "help": "…",
        "success": True,
        "result": {"fields": [], "records": records, "total": len(records) if total is None else total},
    }


def cardinal(
    day: date, kind: object, start_label: object, end_label: object, demand: object, name: str = "1F"
) -> Json:
    return {
        "_id": 1,
        "DAYSAHEAD": 1,
        "TARGETDATE": int(f"{day:%Y%m%d}"),
        "FORECASTDEMAND": demand,
        "CARDINALPOINT": name,
        "CP_TYPE": kind,
        "CP_ST_TIME": start_label,
        "CP_END_TIME": end_label,
        "F_Point": "",
    }


def cardinal_day(day: date) -> list[Json]:
    """A winter day's points: night trough, morning peak, afternoon trough, evening peak."""
    points = (
        ("F", 30, 30, 27_100),
        ("T", 100, 130, 26_400),
        ("P", 200, 230, 26_100),
        ("F", 400, 400, 24_500),
        ("T", 430, 700, 23_800),
        ("F", 800, 800, 33_900),
        ("P", 830, 1200, 38_200),
        ("T", 1300, 1500, 36_000),
        ("P", 1530, 1630, 40_500),
        ("P", 1700, 1830, 43_700),
        ("P", 1900, 2000, 41_900),
        ("F", 2400, 2400, 28_800),
    )
    return [cardinal(day, *point, name=f"{n}A") for n, point in enumerate(points)]


def demand_record(start: datetime, demand: object) -> Json:
    end = start + HALF_HOUR
    return {
        "_id": 1,
        "DATE": f"{start:%Y-%m-%d}",
        "CTIME": end.hour * 100 + end.minute,
        "GDATETIME": f"{end:%Y-%m-%dT%H:%M:%S}",
        "NATIONALDEMAND": demand,
    }


def settled(start: datetime) -> Json:
    return {
        "startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "settlementDate": settlement_date(start).isoformat(),
        "settlementPeriod": settlement_period(start),
    }


def metadata_and(rows: Sequence[object]) -> Json:
    return {"metadata": {"datasets": ["…"]}, "data": rows}


def demand_forecast_row(
    start: datetime, demand: object = 31_000, published: datetime | None = None, boundary: object = "N"
) -> Json:
    issue = published or start - timedelta(hours=6)
    return {
        "publishTime": f"{issue:%Y-%m-%dT%H:%M:%SZ}",
        **settled(start),
        "boundary": boundary,
        "nationalDemand": demand,
        "transmissionSystemDemand": 31_600,
    }


def price_row(
    start: datetime, price: object = 83.25, volume: object = 1_892.45, provider: object = "APXMIDP"
) -> Json:
    return {"dataProvider": provider, **settled(start), "price": price, "volume": volume}


def outturn_row(start: datetime, demand: object = 30_500) -> Json:
    return {
        "publishTime": f"{start + HALF_HOUR:%Y-%m-%dT%H:%M:%SZ}",
        **settled(start),
        "initialDemandOutturn": demand,
        "initialTransmissionSystemDemandOutturn": 31_200,
    }


def without(row: Json, names: Iterable[str]) -> Json:
    return {name: value for name, value in row.items() if name not in names}
