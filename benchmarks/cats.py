"""The same forecasts and jobs for this project's scorer and for CATS, the climate-aware task scheduler.

    pip install climate-aware-task-scheduler==1.2.1     # into the environment that runs this
    make bench NAME=cats ARGS="--data gb_ci.csv [--moments 500]"

At random half-hours of 2020 jobs of several lengths are submitted with a perfect 48-hour forecast. Both may choose
from the same starts. The optimum is found by trying every half-hour; what a choice emits above it is its regret. CATS
reads a half-hour's average as a point and draws straight lines between points, in its `WindowedForecast`.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import random
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from machine import machine

from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from vocabulary import Policy

HALF_HOUR = timedelta(minutes=30)
AHEAD = 96
"""Half-hours of forecast."""
CATS_WINDOW_MINS = 2820
"""How far ahead CATS starts jobs unless it is told otherwise."""
JOB_HOURS = (1, 3, 8, 24)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="carbon intensity by half-hour: Time, Carbon Intensity"
    )
    parser.add_argument("--moments", type=int, default=500)
    options = parser.parse_args()
    try:
        installed = distribution("climate-aware-task-scheduler")
    except PackageNotFoundError:
        print("install CATS first: pip install climate-aware-task-scheduler==1.2.1", file=sys.stderr)
        return 1
    cats = _load(Path(str(installed.locate_file("cats/forecast.py"))))
    times, intensities = _read(options.data)
    print(f"{machine()}; CATS {installed.version}; {options.moments} moments for each length of job\n")
    print("| job | CATS: other start | mean regret, g/kWh | largest | this project: other start | largest regret |")
    print("|---|---|---|---|---|---|")
    for hours in JOB_HOURS:
        chance = random.Random(hours)
        firsts = [chance.randrange(len(times) - AHEAD - 1) for _ in range(options.moments)]
        found = [_compare(cats, times[first], intensities[first : first + AHEAD + 1], 2 * hours) for first in firsts]
        theirs, ours = ([regret for regret, _ in side] for side in zip(*found, strict=True))
        other = [100 * statistics.fmean(differs for _, differs in side) for side in zip(*found, strict=True)]
        cells = [f"{other[0]:.0f} %", f"{statistics.fmean(theirs):.2f}", f"{max(theirs):.1f}", f"{other[1]:.0f} %"]
        print(f"| {hours} h | {' | '.join(cells)} | {max(ours):.1f} |", flush=True)
    return 0


def _load(file: Path) -> Any:
    """A module by its file: this file's own name would hide the package's."""
    spec = importlib.util.spec_from_file_location("cats_forecast", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cats_forecast"] = module
    spec.loader.exec_module(module)
    return module


def _read(file: Path) -> tuple[list[datetime], list[float]]:
    """The half-hours of 2020."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [(datetime.fromisoformat(row["Time"]), row["Carbon Intensity"]) for row in csv.DictReader(lines)]
    halves = [(time.replace(tzinfo=timezone.utc), float(value)) for time, value in rows if time.minute in (0, 30)]
    year = [(time, value) for time, value in halves if time.year == 2020]
    return [time for time, _ in year], [value for _, value in year]


def _compare(
    cats: Any, now: datetime, forecast: Sequence[float], half_hours: int
) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Regret in g/kWh, and whether the start is another than the best, of CATS and of the scorer."""
    points = [cats.PointEstimate(value, now + number * HALF_HOUR) for number, value in enumerate(forecast)]
    windows = cats.WindowedForecast(points, 30 * half_hours, now, max_window_minutes=CATS_WINDOW_MINS)
    theirs = (min(windows).start - now) // HALF_HOUR
    starts = len(windows)
    ours = _scorers_start(now, forecast, half_hours, window_mins=30 * (starts - 1))
    means = [statistics.fmean(forecast[start : start + half_hours]) for start in range(starts)]
    best = min(range(starts), key=means.__getitem__)
    return (means[theirs] - means[best], theirs != best), (means[ours] - means[best], ours != best)


def _scorers_start(now: datetime, forecast: Sequence[float], half_hours: int, window_mins: int) -> int:
    """The half-hour that the decision starts in."""
    zeros = [0.0] * len(forecast)
    context = DecisionContext.model_validate(
        {
            "context_id": "benchmark",
            "as_of": now,
            "task": {
                "job_id": "job",
                "workload_type": "RAG_QUERY",
                "required_gpu_mins": 30 * half_hours,
                "deferral_window_mins": window_mins,
            },
            "national": {"forecast": {"start": now, "wholesale_price_gbp_mwh": zeros, "grid_stress_score": zeros}},
            "regional": [{"region_id": 1, "forecast": {"start": now, "carbon_intensity_gco2_per_kwh": forecast}}],
            "data_centres": [_SITE],
        }
    )
    chosen = decide(context, policy=Policy.CARBON).chosen
    if chosen is None or chosen.recommended is None:
        raise AssertionError("a job that may run at once can be placed")
    return (chosen.recommended.start - now) // HALF_HOUR


_SITE = {
    "dc_id": "DC-001",
    "name": "Great Britain",
    "region_id": 1,
    "location_region": "Great Britain",
    "pue": 1,
    "total_capacity_teraflops": 1,
    "total_capacity_mw": 1,
    "current_load_percentage": 0,
    "flexibility_rating": 0,
    "status": "ACTIVE",
}


if __name__ == "__main__":
    sys.exit(main())
