"""The Carbon Intensity API of Great Britain (NESO, CC BY 4.0)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from grid.half_hours import HALF_HOUR, as_utc, half_hour_of
from upstreams.carbon_intensity_answers import (
    GenerationMix,
    NationalIntensity,
    RegionalIntensity,
    parse_generation,
    parse_generation_list,
    parse_national,
    parse_regional,
)
from upstreams.pieces import each_piece
from upstreams.results import FetchResult, Window
from upstreams.session import RetryPolicy, UpstreamClient, UpstreamSession

# https://carbon-intensity.github.io/api-definitions/
CARBON_INTENSITY_URL = "https://api.carbonintensity.org.uk"

HORIZON = timedelta(hours=48)
# The from/to routes answer HTTP 400 to more than 14 days.
LONGEST_RANGE = timedelta(days=14)
# Two days of all regions are 670 kB: pieces small enough to show progress between them.
REGIONAL_PIECE = timedelta(days=2)


class CarbonIntensityClient(UpstreamClient):
    """Reads national and regional carbon intensity and generation mixes. Safe to use from many threads.

    Every method raises an `UpstreamError` when nothing usable came, and `ValueError` for a time without a
    timezone. Rows are keyed by their own time; what was rejected is in the result's problems.
    """

    def __init__(self, base_url: str = CARBON_INTENSITY_URL, *, patience: RetryPolicy | None = None) -> None:
        super().__init__(UpstreamSession("Carbon Intensity API", base_url, patience=patience or RetryPolicy()))

    def national_forecast(self, now: datetime) -> FetchResult[NationalIntensity]:
        """The national forecast for 48 hours from the running half-hour: 96 rows when it is whole."""
        window = _horizon(now)
        return self._session.fetch(
            f"/intensity/{_just_inside(window.start)}/fw48h",
            partial(parse_national, window=window, fetched_at=as_utc(now)),
        )

    def national_recent(self, now: datetime) -> FetchResult[NationalIntensity]:
        """The last 24 hours, with actuals where they are known (from about 15 minutes after a half-hour)."""
        slot = half_hour_of(now)
        window = Window(slot - timedelta(hours=24), slot)
        return self._session.fetch(
            f"/intensity/{_just_inside(slot)}/pt24h",
            partial(parse_national, window=window, fetched_at=as_utc(now)),
        )

    def regional_forecast(self, now: datetime) -> FetchResult[RegionalIntensity]:
        """The forecast of all 17 regions for 48 hours from the running half-hour, in one call (670 kB)."""
        window = _horizon(now)
        return self._session.fetch(
            f"/regional/intensity/{_just_inside(window.start)}/fw48h",
            partial(parse_regional, window=window, fetched_at=as_utc(now)),
        )

    def generation(self, now: datetime) -> FetchResult[GenerationMix]:
        """The national generation mix of the last complete half-hour: one row."""
        slot = half_hour_of(now)
        window = Window(slot - timedelta(hours=24), slot + HALF_HOUR)
        return self._session.fetch("/generation", partial(parse_generation, window=window, fetched_at=as_utc(now)))

    def national_between(
        self, start: datetime, end: datetime, *, now: datetime
    ) -> Iterator[FetchResult[NationalIntensity]]:
        """National rows of [start, end): a result for each piece of at most 14 days (see `each_piece`)."""

        def fetch(piece: Window) -> FetchResult[NationalIntensity]:
            parse = partial(parse_national, window=piece, fetched_at=as_utc(now))
            return self._session.fetch(f"/intensity/{_range(piece)}", parse)

        return each_piece(Window.around(start, end), LONGEST_RANGE, fetch)

    def regional_between(
        self, start: datetime, end: datetime, *, now: datetime
    ) -> Iterator[FetchResult[RegionalIntensity]]:
        """Regional rows of [start, end): a result for each piece of at most two days (see `each_piece`)."""

        def fetch(piece: Window) -> FetchResult[RegionalIntensity]:
            parse = partial(parse_regional, window=piece, fetched_at=as_utc(now))
            return self._session.fetch(f"/regional/intensity/{_range(piece)}", parse)

        return each_piece(Window.around(start, end), REGIONAL_PIECE, fetch)

    def generation_between(
        self, start: datetime, end: datetime, *, now: datetime
    ) -> Iterator[FetchResult[GenerationMix]]:
        """National mixes of [start, end): a result for each piece of at most 14 days (see `each_piece`)."""

        def fetch(piece: Window) -> FetchResult[GenerationMix]:
            parse = partial(parse_generation_list, window=piece, fetched_at=as_utc(now))
            return self._session.fetch(f"/generation/{_range(piece)}", parse)

        return each_piece(Window.around(start, end), LONGEST_RANGE, fetch)


def _horizon(now: datetime) -> Window:
    slot = half_hour_of(now)
    return Window(slot, slot + HORIZON)


def _range(window: Window) -> str:
    # The API answers the half-hours that END within the range.
    return f"{_just_inside(window.start)}/{_minute(window.end)}"


def _just_inside(start: datetime) -> str:
    # Asked exactly on :00 or :30, the API sends the half-hour before as well.
    return _minute(start + timedelta(minutes=1))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"
