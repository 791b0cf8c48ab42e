"""The published experiments of "Let's Wait Awhile" (Wiesner et al., Middleware '21) on Great Britain in 2020.

    make bench NAME=lets_wait_awhile ARGS="--data gb_ci.csv [other_region.csv …]"

The first file is Great Britain's carbon intensity as the authors publish it (`Time`, `Carbon Intensity`); its rows
off the half-hour are left away. Each table stands three times: as published; as reproduced by the published recipe;
and strictly, with the start chosen by this project's scorer. With further files, of other regions in the same form,
the same jobs are then placed over the regions too. Takes some minutes.

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
from pathlib import Path

import numpy as np
from machine import machine

from decisions.context import DataCentre, Task
from decisions.evaluation import NO_RUN, Evaluation, evaluate
from decisions.joint_pieces import PieceOptions
from decisions.objective import Sites, Terms
from decisions.runs import Booleans, Floats, Integers
from decisions.signals import GridSignals
from vocabulary import Policy, WorkloadType

NEW_YEAR = datetime(2020, 1, 1)  # noqa: DTZ001 - the files' times have no zone
A_DAY = 48
SEEDS = range(10)
ERRORS = (0.0, 0.05, 0.10)

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


def _forecasts(series: Floats, error: float) -> Iterator[Floats]:
    """The series with normal noise, once for each seed; itself where there is no error."""
    if error == 0:
        yield series
        return
    for seed in SEEDS:
        yield series + np.random.default_rng(seed).normal(0, error * series.mean(), len(series))


def _nightly(before: Floats, year: Floats) -> None:
    print("Nightly job of half an hour at 01:00, window of ± w half-hours, forecast error 5 %: mean gCO2/kWh.\n")
    print("| w | published | reproduced | per job that ran | strict, all 366 nights |")
    print("|---|---|---|---|---|")
    for w, published in enumerate(NIGHTLY_PUBLISHED):
        reproduced, ran = _nightly_as_published(year, w, 0.05)
        strict = _nightly_strictly(before, year, w, 0.05)
        per_job = reproduced * NIGHTS / ran
        print(f"| {w} | {published:.2f} | {reproduced:.2f} | {per_job:.2f} | {strict:.2f} |", flush=True)
    print("\nSaving against running at 01:00, %.\n")
    print("| window, error | published | reproduced | per job that ran | strict, all 366 nights |")
    print("|---|---|---|---|---|")
    first, _ = _nightly_as_published(year, 0, 0.0)
    first_strict = _nightly_strictly(before, year, 0, 0.0)
    for (w, error), published in NIGHTLY_SAVINGS_PUBLISHED.items():
        reproduced, ran = _nightly_as_published(year, w, error)
        strict = _nightly_strictly(before, year, w, error)
        savings = (1 - reproduced / first, 1 - reproduced * NIGHTS / ran / first, 1 - strict / first_strict)
        cells = " | ".join(f"{100 * saving:.2f}" for saving in savings)
        print(f"| ± {w // 2} h, {error:.0%} | {published:.2f} | {cells} |", flush=True)
    print()


def _nightly_as_published(year: Floats, w: int, error: float) -> tuple[float, int]:
    """The published mean, which divides by 365, and how many jobs it is the sum of."""
    starts = np.arange(NIGHTS) * A_DAY + NIGHT_START
    starts = starts[starts >= w]
    window = starts[:, None] + np.arange(-w, w + 1)
    means = [
        year[window[np.arange(len(starts)), forecast[window].argmin(axis=1)]].sum() / NIGHTS
        for forecast in _forecasts(year, error)
    ]
    return float(np.mean(means)), len(starts)


def _nightly_strictly(before: Floats, year: Floats, w: int, error: float) -> float:
    """The mean over all nights of 2020; the window of the first reaches back into 2019."""
    true = np.concatenate((before[-A_DAY:], year))
    means = []
    for forecast in _forecasts(year, error):
        noisy = np.concatenate((before[-A_DAY:], forecast))
        nights = range(A_DAY + NIGHT_START, A_DAY * 367 + NIGHT_START, A_DAY)
        starts = [_run(noisy[None, :], start - w, 1, start + w + 1)[1] for start in nights]
        means.append(true[starts].mean())
    return float(np.mean(means))


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
    print("Machine-learning project of 3,387 jobs: saving of carbon with a forecast error of 0 / 5 / 10 %, in %.\n")
    print("| deadline, strategy | published | reproduced | strict |")
    print("|---|---|---|---|")
    for (deadline, strategy), published in ML_PUBLISHED.items():
        pausing = strategy == "interrupting"
        untils = [_until(job, DEADLINES[deadline]) for job in jobs]
        reproduced = [_saving_as_published(jobs, untils, series, error, pausing=pausing) for error in ERRORS]
        strict = [_saving_strictly(jobs, untils, [series], error, pausing=pausing) for error in ERRORS]
        shown = " / ".join(published)
        print(f"| {deadline}, {strategy} | {shown} | {_triple(reproduced, 3)} | {_triple(strict, 2)} |", flush=True)
    print()


def _over_regions(jobs: Sequence[MlJob], regions: dict[str, Floats]) -> None:
    print(f"The same jobs, strictly, at home ({next(iter(regions))}) or over {', '.join(regions)}: saving in %.\n")
    print("| deadline, strategy | when only | where only | when and where |")
    print("|---|---|---|---|")
    reach = min(map(len, regions.values()))
    series = [one[:reach] for one in regions.values()]
    for deadline, strategy in ML_PUBLISHED:
        pausing = strategy == "interrupting"
        untils = [_until(job, DEADLINES[deadline]) for job in jobs]
        own_ends = [job.end for job in jobs]
        results = (
            [_saving_strictly(jobs, untils, series[:1], error, pausing=pausing) for error in ERRORS],
            [_saving_strictly(jobs, own_ends, series, error, pausing=pausing) for error in ERRORS],
            [_saving_strictly(jobs, untils, series, error, pausing=pausing) for error in ERRORS],
        )
        print(f"| {deadline}, {strategy} | {' | '.join(_triple(result, 2) for result in results)} |", flush=True)


def _saving_as_published(
    jobs: Sequence[MlJob], untils: Sequence[int], series: Floats, error: float, *, pausing: bool
) -> float:
    """By the published recipe: one half-hour too many, also for the jobs that savings are counted from."""
    unshifted = _emitted_as_published(jobs, [job.end for job in jobs], series, series, pausing=False)
    emitted = [
        _emitted_as_published(jobs, untils, forecast, series, pausing=pausing)
        for forecast in _forecasts(series, error)
    ]
    return 100 * (1 - float(np.mean(emitted)) / unshifted)


def _emitted_as_published(
    jobs: Sequence[MlJob], untils: Sequence[int], forecast: Floats, true: Floats, *, pausing: bool
) -> float:
    totals = np.concatenate(([0.0], np.cumsum(forecast)))
    emitted = 0.0
    for job, until in zip(jobs, untils, strict=True):
        if pausing:
            window = forecast[job.start : until + 1]
            limit = np.partition(window, job.half_hours - 1)[job.half_hours - 1]
            emitted += float(true[job.start : until + 1][window <= limit].sum())
        else:
            starts = np.arange(job.start, until - job.half_hours + 2)
            start = starts[(totals[starts + job.half_hours] - totals[starts]).argmin()]
            emitted += float(true[start : start + job.half_hours].sum())
    return emitted


def _saving_strictly(
    jobs: Sequence[MlJob], untils: Sequence[int], regions: Sequence[Floats], error: float, *, pausing: bool
) -> float:
    """Ended by the deadline, decided by this project's scorer, against running at once in the first region."""
    run_now = sum(float(regions[0][job.start : job.end].sum()) for job in jobs)
    forecasts = zip(*(_forecasts(series, error) for series in regions), strict=True)
    emitted = []
    for forecast in forecasts:
        noisy = np.array(forecast)
        total = 0.0
        for job, until in zip(jobs, untils, strict=True):
            if until == job.end and len(regions) == 1:
                total += float(regions[0][job.start : until].sum())
            elif pausing:
                region, used = _pieces(noisy, job.start, job.half_hours, until)
                total += float(regions[region][job.start : until][used].sum())
            else:
                region, start = _run(noisy, job.start, job.half_hours, until)
                total += float(regions[region][start : start + job.half_hours].sum())
        emitted.append(total)
    return 100 * (1 - float(np.mean(emitted)) / run_now)


def _run(forecast: Floats, start: int, half_hours: int, until: int) -> tuple[int, int]:
    """The region and first half-hour that the scorer chooses."""
    evaluation = _evaluate(forecast[:, start:until], half_hours)
    best = enumerate(evaluation.best_runs(evaluation.feasible))
    possible = [candidate for candidate in best if candidate[1] != NO_RUN]
    site, run = min(possible, key=lambda candidate: evaluation.rank(*candidate))
    return site, start + run


def _pieces(forecast: Floats, start: int, half_hours: int, until: int) -> tuple[int, Booleans]:
    """The region that the scorer chooses, and the half-hours from `start` on that the job works in there."""
    evaluation = _evaluate(forecast[:, start:until], half_hours)
    options = PieceOptions.of(evaluation, power_w=1000)
    everywhere: Integers = np.full(evaluation.feasible.shape, 1000)
    placement = options.cheapest(everywhere) if options else None
    if placement is None or placement.used_us is None:
        raise AssertionError("a job that may run at once can be placed")
    return placement.site, placement.used_us > 0


MOMENT = datetime(2020, 1, 1, tzinfo=timezone.utc)
"""Any moment on the half-hour: only distances from it count."""
TERMS = Terms.of(Policy.CARBON)


def _evaluate(intensity: Floats, half_hours: int) -> Evaluation:
    """One kilowatt for some half-hours, submitted now, in as many regions and half-hours as there are columns."""
    regions, window = intensity.shape
    deadline = MOMENT + window * timedelta(minutes=30)
    task = Task(
        job_id="job",
        workload_type=WorkloadType.RAG_QUERY,
        required_gpu_mins=30 * half_hours,
        estimated_energy_kwh=half_hours / 2,
        deadline=deadline,
    )
    signals = GridSignals(
        origin=MOMENT,
        price_gbp_per_mwh=np.zeros(window),
        grid_stress_score=np.zeros(window),
        carbon_gco2_per_kwh=np.vstack((intensity, np.full(window, np.nan))),
        rows={region: region for region in range(regions)},
    )
    return evaluate(task, MOMENT, signals, Sites.of(_SITES[:regions], signals), TERMS)


_SITES = [
    DataCentre.model_validate(
        {
            "dc_id": f"DC-{region:03d}",
            "name": f"Region {region}",
            "region_id": region,
            "location_region": f"Region {region}",
            "pue": 1,
            "total_capacity_teraflops": 1,
            "total_capacity_mw": 1,
            "current_load_percentage": 0,
            "flexibility_rating": 0,
            "status": "ACTIVE",
        }
    )
    for region in range(100)
]


def _triple(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
