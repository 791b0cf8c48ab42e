"""The published experiments of "Let's Wait Awhile" (Wiesner et al., Middleware '21) on Great Britain in 2020.

    make bench NAME=lets_wait_awhile ARGS="--data gb_ci.csv [other_region.csv …]"

The first file is Great Britain's carbon intensity as the authors publish it (`Time`, `Carbon Intensity`); its rows
off the half-hour are left away. Each table stands three times: as published; as reproduced by the published recipe;
and strictly, with the start chosen by this project's scorer. With further files, of other regions in the same form,
the same jobs are then placed over the regions too.

Where the recipe is not strict:
- A job may end 30 minutes after its deadline. So may one that must not be shifted, which is what savings are counted
  from: it takes the better of two starts.
- The nightly job of 1 January is skipped where its window begins before the year, and the sum still divided by 365.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np
from machine import machine

from decisions.joint.interruptible import PieceOptions, fill
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.evaluation import Evaluation, evaluate
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.runs import Booleans, Floats
from decisions.scoring.signals import GridSignals
from vocabulary import DataCentreStatus, Policy, WorkloadType

NEW_YEAR = datetime(2020, 1, 1)  # noqa: DTZ001 - the files' times have no zone
A_DAY = 48
SEEDS = range(10)
ERRORS = (0.0, 0.05, 0.10)
SCENARIOS = [(0.0, 0), *((error, seed) for error in ERRORS[1:] for seed in SEEDS)]
"""What the forecasts get wrong: a relative error and the seed of its noise. Without an error one is enough."""


NIGHTLY_PUBLISHED = (
    184.10, 180.66, 178.51, 176.50, 175.31, 174.32, 173.49, 172.86, 172.49, 172.32, 172.10, 171.91, 171.68, 171.49,
    171.15, 170.65, 169.47,
)  # fmt: skip
NIGHTLY_SAVINGS_PUBLISHED = {(4, 0.0): 6.81, (8, 0.0): 8.61, (16, 0.0): 10.41, (16, 0.05): 7.95}
NIGHTS = 365
NIGHT_START = 2
"""01:00, in half-hours."""

ML_JOBS = 3387
ML_PUBLISHED = {
    ("next workday", "non-interrupting"): ("6.571", "6.56", "6.524"),
    ("next workday", "interrupting"): ("9.229", "9.03", "8.578"),
    ("semi-weekly", "non-interrupting"): ("-", "14.73", "-"),
    ("semi-weekly", "interrupting"): ("-", "19.66", "-"),
}

Deadline = Callable[[datetime], datetime | None]


@dataclass(frozen=True)
class MlJob:
    """A training job: its first half-hour since NEW_YEAR, and how many it takes."""

    start: int
    half_hours: int

    @property
    def end(self) -> int:
        return self.start + self.half_hours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="Great Britain's file, then other regions'"
    )
    files = parser.parse_args().data
    regions = {file.stem: _read(file) for file in files}
    home, (before, year) = next(iter(regions.items()))
    print(f"{machine()}\n")
    print(f"{home}: mean of 2020 {year[: 366 * A_DAY].mean():.2f} gCO2/kWh\n")
    _nightly(before, year)
    jobs = list(_ml_jobs())
    _ml_project(jobs, year)
    if len(regions) > 1:
        _over_regions(jobs, {name: series for name, (_, series) in regions.items()})


def _read(file: Path) -> tuple[Floats, Floats]:
    """The half-hours before 2020, and those from then on."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [
            (datetime.fromisoformat(row["Time"]), float(row["Carbon Intensity"])) for row in csv.DictReader(lines)
        ]
    halves = [(time, value) for time, value in rows if time.minute in (0, 30)]
    before = [value for time, value in halves if time < NEW_YEAR]
    return np.array(before), np.array([value for time, value in halves if time >= NEW_YEAR])


def _forecasts(series: Floats, region: int = 0) -> Floats:
    """The series with normal noise, a row for each scenario. The first region's noise is the authors'."""
    return np.array(
        [
            series
            + np.random.default_rng([seed, region] if region else seed).normal(0, error * series.mean(), len(series))
            for error, seed in SCENARIOS
        ]
    )


def _by_error(values: Floats) -> list[float]:
    """The mean over the scenarios of each of ERRORS."""
    of_scenario = np.array([error for error, _ in SCENARIOS])
    return [float(values[of_scenario == error].mean()) for error in ERRORS]


def _nightly(before: Floats, year: Floats) -> None:
    forecasts = _forecasts(year)
    published_way = [_nightly_as_published(year, forecasts, w) for w in range(len(NIGHTLY_PUBLISHED))]
    strictly = [_nightly_strictly(before, year, forecasts, w) for w in range(len(NIGHTLY_PUBLISHED))]
    five_per_cent = ERRORS.index(0.05)
    print("Nightly job of half an hour at 01:00, window of ± w half-hours, forecast error 5 %: mean gCO2/kWh.\n")
    print("| w | published | reproduced | per job that ran | strict, all 366 nights |")
    print("|---|---|---|---|---|")
    for w, published in enumerate(NIGHTLY_PUBLISHED):
        means, ran = published_way[w]
        reproduced, strict = means[five_per_cent], strictly[w][five_per_cent]
        print(f"| {w} | {published:.2f} | {reproduced:.2f} | {reproduced * NIGHTS / ran:.2f} | {strict:.2f} |")
    print("\nSaving against running at 01:00, %.\n")
    print("| window, error | published | reproduced | per job that ran | strict, all 366 nights |")
    print("|---|---|---|---|---|")
    at_once, at_once_strictly = published_way[0][0][0], strictly[0][0]
    for (w, error), published in NIGHTLY_SAVINGS_PUBLISHED.items():
        means, ran = published_way[w]
        reproduced, strict = means[ERRORS.index(error)], strictly[w][ERRORS.index(error)]
        savings = (1 - reproduced / at_once, 1 - reproduced * NIGHTS / ran / at_once, 1 - strict / at_once_strictly)
        cells = " | ".join(f"{100 * saving:.2f}" for saving in savings)
        print(f"| ± {w // 2} h, {error:.0%} | {published:.2f} | {cells} |")
    print(flush=True)


def _nightly_as_published(year: Floats, forecasts: Floats, w: int) -> tuple[list[float], int]:
    """The published means by error, which divide by 365, and how many jobs they are sums of."""
    starts = np.arange(NIGHTS) * A_DAY + NIGHT_START
    starts = starts[starts >= w]
    window = starts[:, None] + np.arange(-w, w + 1)
    chosen = forecasts[:, window].argmin(axis=2)
    means = year[starts - w + chosen].sum(axis=1) / NIGHTS
    return _by_error(means), len(starts)


def _nightly_strictly(before: Floats, year: Floats, forecasts: Floats, w: int) -> list[float]:
    """The means by error over all nights of 2020; the window of the first reaches back into 2019."""
    true = np.concatenate((before[-A_DAY:], year))
    known_before = np.tile(before[-A_DAY:], (len(SCENARIOS), 1))
    noisy = np.concatenate((known_before, forecasts), axis=1)
    nights = range(A_DAY + NIGHT_START, A_DAY * 367 + NIGHT_START, A_DAY)
    emitted = np.zeros(len(SCENARIOS))
    for start in nights:
        evaluation = _evaluate(noisy[:, start - w : start + w + 1], 1)
        emitted += true[start - w + np.array(evaluation.best_runs(evaluation.feasible))]
    return _by_error(emitted / len(nights))


def _ml_jobs() -> Iterator[MlJob]:
    """The authors' random jobs: on weekdays between 09:00 and 17:00, for 4 to 89.5 hours."""
    rng = np.random.default_rng(0)
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(366)]
    weekdays = [day for day in days if day.weekday() < 5]
    shares = [1 / len(weekdays)] * len(weekdays)
    jobs_on = dict(zip(weekdays, rng.multinomial(ML_JOBS, shares), strict=True))
    starts = [
        number * A_DAY + int(minute) // 30
        for number, day in enumerate(days)
        for minute in np.sort(rng.choice(range(540, 1020, 30), size=jobs_on.get(day, 0)))
    ]
    minutes = rng.choice(range(240, 5400, 30), size=ML_JOBS)
    return (MlJob(start, int(length) // 30) for start, length in zip(starts, minutes, strict=True))


def next_workday(end: datetime) -> datetime | None:
    """Jobs that would end outside working hours may end until nine o'clock after."""
    nine = end.replace(hour=9, minute=0)
    if end.weekday() == 5:
        return nine + timedelta(days=2)
    if end.weekday() == 6 or end > end.replace(hour=17, minute=0):
        return nine + timedelta(days=1)
    return nine if end < nine else None


def semi_weekly(end: datetime) -> datetime | None:
    """Jobs may end until nine o'clock of the next Monday or Thursday."""
    nine = end.replace(hour=9, minute=0)
    while nine < end or nine.weekday() not in (0, 3):
        nine += timedelta(days=1)
    return nine


DEADLINES: dict[str, Deadline] = {"next workday": next_workday, "semi-weekly": semi_weekly}


def _until(job: MlJob, deadline: Deadline) -> int:
    """The half-hour before whose start the job must have ended: its own end where it has no deadline."""
    due = deadline(NEW_YEAR + job.end * timedelta(minutes=30))
    return job.end if due is None else int((due - NEW_YEAR) / timedelta(minutes=30))


def _ml_project(jobs: Sequence[MlJob], series: Floats) -> None:
    forecasts = _forecasts(series)
    print("Machine-learning project of 3,387 jobs: saving of carbon with a forecast error of 0 / 5 / 10 %, in %.\n")
    print("| deadline, strategy | published | reproduced | strict |")
    print("|---|---|---|---|")
    for (deadline, strategy), published in ML_PUBLISHED.items():
        pausing = strategy == "interrupting"
        untils = [_until(job, DEADLINES[deadline]) for job in jobs]
        reproduced = _saving_as_published(jobs, untils, forecasts, series, pausing=pausing)
        strict = _saving_strictly(jobs, untils, forecasts[:, None], series[None], pausing=pausing)
        shown = " / ".join(published)
        print(f"| {deadline}, {strategy} | {shown} | {_triple(reproduced, 3)} | {_triple(strict, 2)} |", flush=True)
    print()


def _over_regions(jobs: Sequence[MlJob], regions: dict[str, Floats]) -> None:
    print(f"The same jobs, strictly, at home ({next(iter(regions))}) or over {', '.join(regions)}: saving in %.\n")
    print("| deadline, strategy | when only | where only | when and where |")
    print("|---|---|---|---|")
    reach = min(map(len, regions.values()))
    true = np.array([series[:reach] for series in regions.values()])
    forecasts = np.stack([_forecasts(series, region) for region, series in enumerate(true)], axis=1)
    own_ends = [job.end for job in jobs]
    where_only = _saving_strictly(jobs, own_ends, forecasts, true, pausing=False)
    for deadline, strategy in ML_PUBLISHED:
        pausing = strategy == "interrupting"
        untils = [_until(job, DEADLINES[deadline]) for job in jobs]
        when_only = _saving_strictly(jobs, untils, forecasts[:, :1], true[:1], pausing=pausing)
        both = _saving_strictly(jobs, untils, forecasts, true, pausing=pausing)
        cells = " | ".join(_triple(result, 2) for result in (when_only, where_only, both))
        print(f"| {deadline}, {strategy} | {cells} |", flush=True)


def _saving_as_published(
    jobs: Sequence[MlJob], untils: Sequence[int], forecasts: Floats, true: Floats, *, pausing: bool
) -> list[float]:
    """By the published recipe: one half-hour too many, also for the jobs that savings are counted from."""
    unshifted = _emitted_as_published(jobs, [job.end for job in jobs], true[None], true, pausing=False)
    emitted = _emitted_as_published(jobs, untils, forecasts, true, pausing=pausing)
    return [100 * (1 - mean / float(unshifted[0])) for mean in _by_error(emitted)]


def _emitted_as_published(
    jobs: Sequence[MlJob], untils: Sequence[int], forecasts: Floats, true: Floats, *, pausing: bool
) -> Floats:
    """What all jobs emit, by scenario."""
    totals, true_totals = _totals(forecasts), _totals(true)
    emitted = np.zeros(len(forecasts))
    for job, until in zip(jobs, untils, strict=True):
        if pausing:
            window = forecasts[:, job.start : until + 1]
            limit = np.partition(window, job.half_hours - 1, axis=1)[:, job.half_hours - 1, None]
            emitted += np.where(window <= limit, true[job.start : until + 1], 0.0).sum(axis=1)
        else:
            starts = np.arange(job.start, until - job.half_hours + 2)
            start = starts[(totals[:, starts + job.half_hours] - totals[:, starts]).argmin(axis=1)]
            emitted += true_totals[start + job.half_hours] - true_totals[start]
    return emitted


def _saving_strictly(
    jobs: Sequence[MlJob], untils: Sequence[int], forecasts: Floats, true: Floats, *, pausing: bool
) -> list[float]:
    """Ended by the deadline, decided by this project's scorer, against running at once in the first region.

    `forecasts` has the shape (scenarios, regions, half-hours), `true` (regions, half-hours).
    """
    scenarios, regions, _ = forecasts.shape
    true_totals = _totals(true)
    run_now = sum(float(true_totals[0, job.end] - true_totals[0, job.start]) for job in jobs)
    emitted = np.zeros(scenarios)
    for job, until in zip(jobs, untils, strict=True):
        if until == job.end and regions == 1:
            emitted += true_totals[0, until] - true_totals[0, job.start]
            continue
        # Scenarios are told apart as regions are, so that the scorer prices all of them at once.
        expected = forecasts[:, :, job.start : until].reshape(scenarios * regions, -1)
        works = _pieces(expected, job.half_hours) if pausing else _run(expected, job.half_hours)
        shape = (scenarios, regions, until - job.start)
        expected_g = np.where(works, expected, 0.0).reshape(shape).sum(axis=2)
        truly_g = np.where(works.reshape(shape), true[:, job.start : until], 0.0).sum(axis=2)
        emitted += truly_g[np.arange(scenarios), expected_g.argmin(axis=1)]
    return [100 * (1 - mean / run_now) for mean in _by_error(emitted)]


def _totals(series: Floats) -> Floats:
    """Element i is the sum of the first i half-hours."""
    return np.concatenate((np.zeros((*series.shape[:-1], 1)), np.cumsum(series, axis=-1)), axis=-1)


def _run(forecast: Floats, half_hours: int) -> Booleans:
    """The half-hours in which the scorer would have the job work at each place."""
    evaluation = _evaluate(forecast, half_hours)
    after_start = np.arange(forecast.shape[1]) - np.array(evaluation.best_runs(evaluation.feasible))[:, None]
    works: Booleans = (after_start >= 0) & (after_start < half_hours)
    return works


def _pieces(forecast: Floats, half_hours: int) -> Booleans:
    """The same for a job that may pause."""
    options = PieceOptions.of(_evaluate(forecast, half_hours), power_w=1000)
    if options is None:
        raise AssertionError("a job that may run at once can be placed")
    works: Booleans = fill(options.rate_gbp_per_h, options.available_us, options.need_us) > 0
    return works


MOMENT = datetime(2020, 1, 1, tzinfo=timezone.utc)
"""Any moment on the half-hour: only distances from it count."""
TERMS = Terms.of(Policy.CARBON)


def _evaluate(forecast: Floats, half_hours: int) -> Evaluation:
    """One kilowatt for some half-hours, submitted now, with a place for each row and a half-hour for each column."""
    places, window = forecast.shape
    task = Task(
        job_id="job",
        workload_type=WorkloadType.RAG_QUERY,
        required_gpu_mins=30 * half_hours,
        estimated_energy_kwh=half_hours / 2,
        deadline=MOMENT + window * timedelta(minutes=30),
    )
    return evaluate(task, MOMENT, _signals(forecast), _sites(places), TERMS)


def _signals(forecast: Floats) -> GridSignals:
    """Nothing but carbon counts; every place is a region of its own."""
    places, window = forecast.shape
    return GridSignals(
        origin=MOMENT,
        price_gbp_per_mwh=np.zeros(window),
        grid_stress_score=np.zeros(window),
        carbon_intensity_gco2_per_kwh=np.vstack((forecast, np.full(window, np.nan))),
        rows={place: place for place in range(places)},
    )


@cache
def _sites(places: int) -> Sites:
    centres = [
        DataCentre(
            dc_id=f"DC-{place:03d}",
            name=f"Place {place}",
            region_id=place,
            location_region=f"Place {place}",
            pue=1,
            total_capacity_teraflops=1,
            total_capacity_mw=1,
            current_load_percentage=0,
            flexibility_rating=0,
            status=DataCentreStatus.ACTIVE,
        )
        for place in range(places)
    ]
    return Sites.of(centres, _signals(np.zeros((places, 1))))


def _triple(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
