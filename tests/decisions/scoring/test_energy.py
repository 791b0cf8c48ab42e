from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from decision_contexts import task
from decisions.scoring.context import Task
from decisions.scoring.energy import PARALLEL_GPUS, USUAL_DURATION, ComputeLoad, EnergyBasis, compute_load
from vocabulary import WorkloadType


def load_of(**facts: Any) -> ComputeLoad:
    return compute_load(Task.model_validate(task(**facts)))


def test_gpu_minutes_become_energy_at_the_kilowatts_of_one_gpu_and_its_host() -> None:
    load = load_of(required_gpu_mins=1200, workload_type="TRAINING_RUN")
    assert load.it_energy_kwh == pytest.approx(1200 / 60 * (0.7 * 0.8 + 0.4))
    assert load.basis is EnergyBasis.MODELLED


@pytest.mark.parametrize("workload_type", list(WorkloadType))
def test_gpu_minutes_are_shared_by_the_types_gpus(workload_type: WorkloadType) -> None:
    gpus = PARALLEL_GPUS[workload_type]
    load = load_of(required_gpu_mins=90 * gpus, workload_type=workload_type)
    assert load.duration == timedelta(minutes=90)
    assert load.it_power_kw == pytest.approx(gpus * 0.96)


def test_cores_and_memory_count_where_they_draw_more_than_the_gpus_own_hosts() -> None:
    alone = load_of(required_gpu_mins=60)
    modest = load_of(required_gpu_mins=60, required_cpu_cores=16, required_memory_gb=64)
    large = load_of(required_gpu_mins=60, required_cpu_cores=256, required_memory_gb=1000)
    assert modest == alone
    assert large.it_power_kw == pytest.approx(0.56 + 256 * 0.004 + 1000 * 0.000392)


def test_cores_alone_draw_for_the_types_usual_duration() -> None:
    load = load_of(required_gpu_mins=None, required_cpu_cores=64, workload_type="DATA_PROCESSING")
    assert load.duration == timedelta(hours=1)
    assert load.it_power_kw == pytest.approx(0.256)
    assert load.gpus == 0


def test_stated_energy_is_taken_and_spread_over_the_duration() -> None:
    by_gpus = load_of(required_gpu_mins=120, estimated_energy_kwh=5)
    assert (by_gpus.it_energy_kwh, by_gpus.duration) == (5, timedelta(hours=2))
    assert by_gpus.it_power_kw == pytest.approx(2.5)
    assert by_gpus.basis is EnergyBasis.STATED
    alone = load_of(required_gpu_mins=None, estimated_energy_kwh=100, workload_type="TRAINING_RUN")
    assert alone.duration == USUAL_DURATION[WorkloadType.TRAINING_RUN]
    assert alone.it_power_kw == pytest.approx(25)


def test_stated_zero_energy_is_zero() -> None:
    load = load_of(required_gpu_mins=None, estimated_energy_kwh=0)
    assert (load.it_energy_kwh, load.it_power_kw) == (0, 0)
    assert load.basis is EnergyBasis.STATED


@pytest.mark.parametrize("gpu_minutes", [None, 0])
def test_a_workload_that_states_nothing_is_assumed_to_be_a_usual_one(gpu_minutes: int | None) -> None:
    load = load_of(required_gpu_mins=gpu_minutes, workload_type="FINE_TUNING")
    assert load.basis is EnergyBasis.ASSUMED
    assert load.duration == timedelta(hours=2)
    assert load.it_energy_kwh == pytest.approx(2 * 8 * 0.96)


def test_energy_is_power_times_duration_whatever_is_stated() -> None:
    for facts in ({"required_gpu_mins": 7}, {"estimated_energy_kwh": 3}, {"required_memory_gb": 512}):
        load = load_of(**facts)
        assert load.it_power_kw * load.duration_h == pytest.approx(load.it_energy_kwh)


@pytest.mark.parametrize("gpu_minutes", [1e-9, 1e15, 1e300])
def test_absurd_gpu_minutes_keep_a_finite_duration(gpu_minutes: float) -> None:
    load = load_of(required_gpu_mins=gpu_minutes)
    assert timedelta(seconds=1) <= load.duration <= timedelta(days=36_525)
