"""How much power a workload draws and for how long.

    IT power [kW]   = GPUs x GPU_TDP_KW x GPU_UTILISATION + host power
    host power [kW] = the greater of GPUs x GPU_HOST_KW and cores x CPU_CORE_KW + memory x MEMORY_GB_KW
    duration [h]    = GPU-minutes / GPUs / 60; without GPU-minutes the usual duration of the workload's type
    IT energy [kWh] = `estimated_energy_kwh` if the workload states it (its power is then energy / duration),
                      else IT power x duration
    site energy     = IT energy x PUE

docs/scoring.md gives each constant with its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from decisions.scoring.context import Task
from hardware import CPU_CORE_KW, GPU_HOST_KW, GPU_TDP_KW, GPU_UTILISATION, MEMORY_GB_KW
from vocabulary import StrEnum, WorkloadType

# How many GPUs a job of each type keeps busy at once: training fills one eight-GPU node. These and
# the usual durations are our assumptions: nothing in a workload states them.
PARALLEL_GPUS: dict[WorkloadType, int] = {
    WorkloadType.TRAINING_RUN: 8,
    WorkloadType.FINE_TUNING: 8,
    WorkloadType.INFERENCE_BATCH: 4,
    WorkloadType.DATA_PROCESSING: 2,
    WorkloadType.RAG_QUERY: 1,
    WorkloadType.OTHER: 2,
}
USUAL_DURATION: dict[WorkloadType, timedelta] = {
    WorkloadType.TRAINING_RUN: timedelta(hours=4),
    WorkloadType.FINE_TUNING: timedelta(hours=2),
    WorkloadType.INFERENCE_BATCH: timedelta(hours=1),
    WorkloadType.DATA_PROCESSING: timedelta(hours=1),
    WorkloadType.RAG_QUERY: timedelta(minutes=5),
    WorkloadType.OTHER: timedelta(hours=1),
}

# A job takes at least a second, and longer than a century is not told apart: no forecast reaches so far.
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=36_525)


class EnergyBasis(StrEnum):
    """What the energy of a workload was worked out from."""

    STATED = "stated"
    MODELLED = "modelled"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class ComputeLoad:
    """A workload as the grid sees it: constant IT power for a time."""

    it_power_kw: float
    duration: timedelta
    it_energy_kwh: float
    gpus: int
    basis: EnergyBasis

    @property
    def duration_h(self) -> float:
        return self.duration / timedelta(hours=1)

    @property
    def duration_minutes(self) -> float:
        return self.duration / timedelta(minutes=1)


def compute_load(task: Task) -> ComputeLoad:
    """IT power, duration and IT energy of a workload.

    A workload that states no energy and no requirement above zero is taken to use its type's usual GPUs for
    the usual duration; its basis is then `assumed`, and the output says so.
    """
    gpu_minutes = task.required_gpu_mins or 0.0
    nothing_stated = task.estimated_energy_kwh is None and not (
        gpu_minutes or task.required_cpu_cores or task.required_memory_gb
    )
    gpus = PARALLEL_GPUS[task.workload_type] if gpu_minutes or nothing_stated else 0
    duration = _duration(task, gpu_minutes, gpus)
    if task.estimated_energy_kwh is not None:
        energy_kwh = task.estimated_energy_kwh
        return ComputeLoad(_power_kw(energy_kwh, duration), duration, energy_kwh, gpus, EnergyBasis.STATED)
    if gpu_minutes:
        # From the GPU-minutes themselves: the duration is rounded to a microsecond.
        energy_kwh = gpu_minutes / 60 / gpus * _modelled_power_kw(task, gpus)
    else:
        energy_kwh = _modelled_power_kw(task, gpus) * (duration / timedelta(hours=1))
    basis = EnergyBasis.ASSUMED if nothing_stated else EnergyBasis.MODELLED
    return ComputeLoad(_power_kw(energy_kwh, duration), duration, energy_kwh, gpus, basis)


def _duration(task: Task, gpu_minutes: float, gpus: int) -> timedelta:
    if not gpu_minutes:
        return USUAL_DURATION[task.workload_type]
    minutes = gpu_minutes / gpus
    return LONGEST if minutes > LONGEST / timedelta(minutes=1) else max(timedelta(minutes=minutes), SHORTEST)


def _modelled_power_kw(task: Task, gpus: int) -> float:
    cores = task.required_cpu_cores or 0
    memory_gb = task.required_memory_gb or 0.0
    host_kw = max(gpus * GPU_HOST_KW, cores * CPU_CORE_KW + memory_gb * MEMORY_GB_KW)
    return gpus * GPU_TDP_KW * GPU_UTILISATION + host_kw


def _power_kw(energy_kwh: float, duration: timedelta) -> float:
    return energy_kwh / (duration / timedelta(hours=1))
