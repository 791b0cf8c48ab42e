"""The workloads that wait for compute, as a Beckn catalogue.

One provider lists them all, each as an item whose id is its job's: whose they are is left out, but in the id where
several operators have a job of that id. A workload's price is the most it may cost, its quantity the GPU time it
takes, and its fulfilment runs from its earliest start to its deadline. What a workload does not state is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from beckn.catalogue.workload_tags import energy_constraints, machine_tags, window_tag
from beckn.protocol.objects import (
    COMPUTE,
    COUNTRY,
    CURRENCY,
    GPU_MINUTE,
    Catalog,
    Country,
    Descriptor,
    Fulfillment,
    Item,
    ItemQuantity,
    Location,
    Price,
    Provider,
    Quantity,
    Scalar,
    Stop,
    TagGroup,
    Time,
    TimeRange,
)
from beckn.protocol.values import decimal_text
from decisions.scoring.context import Task
from decisions.scoring.feasibility import latest_start
from ontology.types import ComputeWorkload
from vocabulary import WorkloadStatus

WORKLOADS_PROVIDER_ID = "open-workloads"
GREAT_BRITAIN_ID = "GB"

OPEN_STATUSES = frozenset(
    {
        WorkloadStatus.PENDING,
        WorkloadStatus.QUEUED,
        WorkloadStatus.DEFERRED_GRID_STRESS,
        WorkloadStatus.DEFERRED_CARBON,
        WorkloadStatus.DEFERRED_PRICE,
    }
)


def open_workloads(workloads: Iterable[ComputeWorkload], *, now: datetime) -> Catalog:
    """Those of `workloads` that are in one of OPEN_STATUSES, oldest first."""
    waiting = sorted(
        (workload for workload in workloads if workload.status in OPEN_STATUSES),
        key=lambda workload: (workload.created_at, workload.job_id),
    )
    ids = _item_ids(waiting)
    great_britain = Location(
        id=GREAT_BRITAIN_ID,
        descriptor=Descriptor(name="Great Britain"),
        country=Country(name="United Kingdom", code=COUNTRY),
    )
    provider = Provider(
        id=WORKLOADS_PROVIDER_ID,
        descriptor=Descriptor(name="Open workloads"),
        fulfillments=tuple(_fulfillment(*each, now) for each in zip(waiting, ids, strict=True)),
        locations=(great_britain,),
        items=tuple(_item(*each) for each in zip(waiting, ids, strict=True)),
    )
    return Catalog(descriptor=Descriptor(name="Workloads waiting for compute"), providers=(provider,))


def _item_ids(workloads: Sequence[ComputeWorkload]) -> list[str]:
    """Their jobs' ids, each once: no id of ours has a slash in it."""
    times = Counter(workload.job_id for workload in workloads)
    return [
        workload.job_id if times[workload.job_id] == 1 else f"{workload.operator or ''}/{workload.job_id}"
        for workload in workloads
    ]


def _item(workload: ComputeWorkload, item_id: str) -> Item:
    groups = (
        TagGroup.known(
            "workload-requirements",
            {
                "workload-type": workload.workload_type,
                "urgency": workload.urgency,
                "status": workload.status,
                **machine_tags(workload),
                "deferral-window": window_tag(workload),
                "synthetic": workload.is_synthetic,
            },
        ),
        energy_constraints(workload),
    )
    return Item(
        id=item_id,
        descriptor=Descriptor(code=str(workload.workload_type), name=f"Workload {workload.job_id}"),
        price=_price(workload.max_price_gbp),
        quantity=_quantity(workload.required_gpu_mins),
        location_ids=(GREAT_BRITAIN_ID,),
        fulfillment_ids=(_fulfillment_id(item_id),),
        tags=tuple(group for group in groups if group),
    )


def _price(most_gbp: float | None) -> Price:
    return Price(currency=CURRENCY, maximum_value=None if most_gbp is None else decimal_text(most_gbp))


def _quantity(gpu_minutes: float | None) -> ItemQuantity:
    if gpu_minutes is None:
        return ItemQuantity()
    return ItemQuantity(selected=Quantity(measure=Scalar(unit=GPU_MINUTE, value=decimal_text(gpu_minutes))))


def _fulfillment(workload: ComputeWorkload, item_id: str, now: datetime) -> Fulfillment:
    """It may start from now to the end of its deferral window, and must have ended by its deadline."""
    latest = latest_start(Task.model_validate(workload, from_attributes=True), now)
    stops = [Stop(type="start", time=Time(range=TimeRange(start=now, end=latest)))]
    if workload.deadline:
        stops.append(Stop(type="end", time=Time(timestamp=workload.deadline)))
    return Fulfillment(id=_fulfillment_id(item_id), type=COMPUTE, stops=tuple(stops))


def _fulfillment_id(item_id: str) -> str:
    return f"ful:{item_id}"
