"""A workload's needs as tags: what they are called on the network, for whoever lists or seeks a workload."""

from __future__ import annotations

from beckn.protocol.objects import TagGroup
from workloads.model import WorkloadNeeds

_MACHINE_TAGS = {
    "cpu-cores": "required_cpu_cores",
    "memory-gb": "required_memory_gb",
    "estimated-energy-kwh": "estimated_energy_kwh",
}


def machine_tags(workload: WorkloadNeeds) -> dict[str, float | None]:
    """What it takes of a machine, in the group `workload-requirements`."""
    return {tag: getattr(workload, name) for tag, name in _MACHINE_TAGS.items()}


def window_tag(workload: WorkloadNeeds) -> str | None:
    """Its deferral window in whole minutes, as an ISO 8601 duration."""
    minutes = workload.deferral_window_mins
    return None if minutes is None else f"PT{minutes:.0f}M"


def energy_constraints(workload: WorkloadNeeds) -> TagGroup | None:
    return TagGroup.known("energy-constraints", {"max-carbon-intensity-gco2-per-kwh": workload.carbon_cap_gco2})
