"""The upstream clients: one class an API, a frozen row for each kind of figure, and the errors they raise.

    with CarbonIntensityClient() as carbon:
        forecast = carbon.national_forecast(now)
        for row in forecast.rows: ...
        log(forecast.summary())

Times are half-hour starts in UTC, and `now` is the caller's. A fetch returns the good rows and says what was
wrong with the rest; it raises an `UpstreamError` only when nothing usable came. The clients are thread-safe
and keep their connections: make one of each and close it at the end.
"""

from __future__ import annotations

from upstreams.call_limit import CallLimit
from upstreams.carbon_intensity import CARBON_INTENSITY_URL, CarbonIntensityClient
from upstreams.carbon_intensity_answers import GenerationMix, NationalIntensity, RegionalIntensity
from upstreams.demand import NationalDemand
from upstreams.elexon import ELEXON_URL, ElexonClient, MarketIndexPrice
from upstreams.errors import (
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamSkipped,
    UpstreamUnavailable,
)
from upstreams.neso import NESO_URL, NesoClient
from upstreams.results import FetchResult, HalfHourRow, Problem, ProblemKind, Window
from upstreams.session import RetryPolicy

__all__ = [
    "CARBON_INTENSITY_URL",
    "ELEXON_URL",
    "NESO_URL",
    "CallLimit",
    "CarbonIntensityClient",
    "ElexonClient",
    "FetchResult",
    "GenerationMix",
    "HalfHourRow",
    "MarketIndexPrice",
    "NationalDemand",
    "NationalIntensity",
    "NesoClient",
    "Problem",
    "ProblemKind",
    "RegionalIntensity",
    "RetryPolicy",
    "UpstreamError",
    "UpstreamInvalidResponse",
    "UpstreamRefused",
    "UpstreamSkipped",
    "UpstreamUnavailable",
    "Window",
]
