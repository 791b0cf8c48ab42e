"""How fast is a decision? Data centres x 96 half-hours, one workload at a time, on one core.

    make bench NAME=scoring [ARGS="--data-centres 8 100 1000 --seconds 2"]

`answer` prices and checks every place and start and finds the best; `decide` adds every option's score,
estimates and explanation; `output` builds the published output from that, and `JSON` writes it. The grid is the same
for all workloads, as for those that a gateway takes from its queue together.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from machine import machine

from decisions.publishing.output import build_output
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from decisions.scoring.evaluation import evaluate
from decisions.scoring.objective import Sites, Terms
from decisions.scoring.signals import read_signals
from vocabulary import Policy

AS_OF = datetime(2026, 11, 22, 8, 4, 11, tzinfo=timezone.utc)
START = AS_OF.replace(minute=0, second=0)
HALF_HOURS = 96
REGIONS = range(1, 15)


def random_context(data_centres: int, seed: int = 1) -> DecisionContext:
    """A training run that may wait twelve hours, over a random but plausible grid."""
    chance = random.Random(seed)
    forecast = {"start": START.isoformat(), "oldest_fetched_at": AS_OF.isoformat()}
    document: dict[str, Any] = {
        "context_id": "benchmark",
        "as_of": AS_OF.isoformat(),
        "task": {
            "job_id": "benchmark",
            "workload_type": "TRAINING_RUN",
            "urgency": "MEDIUM",
            "required_gpu_mins": 1_200,
            "carbon_cap_gco2": 200,
            "max_price_gbp": 40,
            "deferral_window_mins": 720,
            "deadline": (AS_OF + timedelta(days=1)).isoformat(),
        },
        "national": {
            "forecast": {
                **forecast,
                "wholesale_price_gbp_mwh": [chance.uniform(-10, 150) for _ in range(HALF_HOURS)],
                "grid_stress_score": [chance.uniform(0.2, 0.9) for _ in range(HALF_HOURS)],
            }
        },
        "regional": [
            {
                "region_id": region,
                "forecast": {
                    **forecast,
                    "carbon_intensity_gco2_per_kwh": [chance.randint(0, 250) for _ in range(HALF_HOURS)],
                },
            }
            for region in REGIONS
        ],
        "data_centres": [
            {
                "dc_id": f"DC-{number:04d}",
                "name": f"Site {number}",
                "region_id": chance.choice(REGIONS),
                "location_region": "Somewhere",
                "pue": chance.uniform(1.1, 1.6),
                "total_capacity_teraflops": 40_000,
                "total_capacity_mw": 20,
                "current_load_percentage": chance.uniform(10, 95),
                "flexibility_rating": 0.5,
                "status": "ACTIVE",
            }
            for number in range(data_centres)
        ],
    }
    return DecisionContext.model_validate(document)


def median_ms(act: Callable[[], object], seconds: float) -> float:
    """Median processor time of a call, over as many as fit into `seconds` after a warm-up.

    A long call shares its processor with other programs and a short one does not, so the clock on the wall would
    make the long ones seem to take more than they do.
    """
    act()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 5:
        started = time.process_time()
        act()
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times)


def measure(data_centres: int, seconds: float) -> tuple[float, float, float, float]:
    """Milliseconds of processor time for the answer, the whole decision, the output and its JSON."""
    context = random_context(data_centres)
    signals = read_signals(context)
    sites, terms = Sites.of(context.data_centres, signals), Terms.of(Policy.BALANCED)
    decision = decide(context)
    output = build_output(decision, generated_at=AS_OF)

    def answer() -> tuple[int, int] | None:
        return evaluate(context.task, context.as_of, signals, sites, terms).answer()

    return (
        median_ms(answer, seconds),
        median_ms(lambda: decide(context), seconds),
        median_ms(lambda: build_output(decision, generated_at=AS_OF), seconds),
        median_ms(output.model_dump_json, seconds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-centres", type=int, nargs="+", default=[8, 100, 1_000])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of the four measurements")
    arguments = parser.parse_args()
    print(f"{machine()}; {HALF_HOURS} half-hours, median processor time\n")
    print("| data centres | answer, ms | decide, ms | output, ms | JSON, ms | answers/s | outputs/s |")
    print("|---|---|---|---|---|---|---|")
    for data_centres in arguments.data_centres:
        answer, *rest = measure(data_centres, arguments.seconds)
        cells = " | ".join(f"{each:.2f}" for each in (answer, *rest))
        print(f"| {data_centres} | {cells} | {1000 / answer:,.0f} | {1000 / sum(rest):,.0f} |")


if __name__ == "__main__":
    main()
