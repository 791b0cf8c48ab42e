"""What a buyer asks for, as a workload that the scorer understands. Pure.

The tag group `workload-requirements` has `job-id`, `workload-type`, `urgency`, `cpu-cores`, `memory-gb`,
`estimated-energy-kwh`, `deferral-window` (an ISO 8601 duration), `deadline` and `max-price-gbp`; `energy-constraints`
has `max-carbon-intensity-gco2-per-kwh`. Every one may be left out, and stands in either group. Times of the
fulfilment come first: the range of its start is when the workload may start, and its end the deadline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from beckn.answers import Refused
from beckn.context_rules import Text
from beckn.messages import Tag, TagGroup
from beckn.provider.messages_order import OrderItem, OrderStop
from beckn.provider.messages_request import InitiatedOrder, Intent, SelectedOrder
from beckn.values import Duration, Timestamp
from decisions.context import Task
from vocabulary import Urgency, WorkloadType

REQUIREMENT_GROUPS = frozenset({"workload-requirements", "energy-constraints"})
MOST_ON_A_PAGE = 50
USUALLY_ON_A_PAGE = 20
LONGEST_WINDOW = timedelta(days=365)

_MINUTE = timedelta(minutes=1)
_Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
_Found = TypeVar("_Found", bound=BaseModel)


class Requirements(BaseModel):
    """The tags of an order or intent that say what its workload needs."""

    model_config = ConfigDict(frozen=True)

    job_id: Text | None = None
    workload_type: WorkloadType | None = None
    urgency: Urgency = Urgency.MEDIUM
    cpu_cores: Annotated[int, Field(ge=0, le=10**9)] | None = None
    memory_gb: _Amount | None = None
    estimated_energy_kwh: _Amount | None = None
    max_price_gbp: _Amount | None = None
    max_carbon_intensity_gco2_per_kwh: _Amount | None = None
    deferral_window: Annotated[Duration, Field(ge=timedelta(0), le=LONGEST_WINDOW)] | None = None
    deadline: Timestamp | None = None


class Paging(BaseModel):
    """The tag group `paging` of a search: which page of the slots is wanted, and how long a page is."""

    model_config = ConfigDict(frozen=True)

    page: Annotated[int, Field(ge=1, le=10**6)] = 1
    page_size: Annotated[int, Field(ge=1, le=MOST_ON_A_PAGE)] = USUALLY_ON_A_PAGE


@dataclass(frozen=True)
class Wanted:
    """A workload, and when it may start at the earliest."""

    task: Task
    earliest: datetime
    tags: tuple[TagGroup, ...]
    """The buyer's own words, which come back with the order."""


def wanted_by_intent(intent: Intent, now: datetime) -> Wanted:
    """The workload that a search describes, at `now`.

    Raises:
        Refused: a tag's value is not what the tag takes.
    """
    item = intent.item
    tags = intent.tags or ()
    needs = _read(Requirements, tags, REQUIREMENT_GROUPS, "message.intent.tags")
    code = item.descriptor.code if item and item.descriptor else None
    price = item.price.maximum_value if item and item.price else None
    return _wanted(
        needs,
        workload_type=code,
        gpu_minutes=float(item.quantity.selected.measure.value) if item and item.quantity else None,
        max_price_gbp=float(price) if price is not None else None,
        stops=intent.fulfillment.stops or (),
        now=now,
        tags=_requirement_groups(tags),
    )


def wanted_by_order(order: SelectedOrder | InitiatedOrder, now: datetime) -> Wanted:
    """The workload that is ordered, at `now`. Its window is in its tags: the fulfilment's times are the slot's.

    Raises:
        Refused: a tag's value is not what the tag takes.
    """
    item: OrderItem = order.items[0]
    needs = _read(Requirements, order.tags or (), REQUIREMENT_GROUPS, "message.order.tags")
    return _wanted(
        needs,
        workload_type=None,
        gpu_minutes=float(item.quantity.selected.measure.value),
        max_price_gbp=None,
        stops=(),
        now=now,
        tags=_requirement_groups(order.tags or ()),
    )


def paging_of(intent: Intent) -> Paging:
    """Which page of the slots a search asks for.

    Raises:
        Refused: `page` or `page-size` is not a number in its bounds.
    """
    return _read(Paging, intent.tags or (), frozenset({"paging"}), "message.intent.tags")


def _wanted(
    needs: Requirements,
    *,
    workload_type: WorkloadType | None,
    gpu_minutes: float | None,
    max_price_gbp: float | None,
    stops: Iterable[OrderStop],
    now: datetime,
    tags: tuple[TagGroup, ...],
) -> Wanted:
    earliest, latest, deadline = _times(stops)
    start = max(now, earliest or now)
    window = latest - now if latest else None
    if window is None and needs.deferral_window is not None:
        window = start - now + needs.deferral_window
    task = Task(
        job_id=needs.job_id or "unnamed",
        workload_type=workload_type or needs.workload_type or WorkloadType.OTHER,
        urgency=needs.urgency,
        required_gpu_mins=gpu_minutes,
        required_cpu_cores=needs.cpu_cores,
        required_memory_gb=needs.memory_gb,
        estimated_energy_kwh=needs.estimated_energy_kwh,
        carbon_cap_gco2=needs.max_carbon_intensity_gco2_per_kwh,
        max_price_gbp=max_price_gbp if max_price_gbp is not None else needs.max_price_gbp,
        deadline=deadline or needs.deadline,
        deferral_window_mins=max(timedelta(0), window) / _MINUTE if window is not None else None,
        created_at=now,
    )
    return Wanted(task, start, tags)


def _times(stops: Iterable[OrderStop]) -> tuple[datetime | None, datetime | None, datetime | None]:
    """The earliest and the latest start, and the deadline."""
    earliest = latest = deadline = None
    for stop in stops:
        if stop.time is None:
            continue
        whole = stop.time.range
        if stop.type == "start":
            earliest = whole.start if whole else stop.time.timestamp
            latest = whole.end if whole else stop.time.timestamp
        elif stop.type == "end":
            deadline = whole.end if whole else stop.time.timestamp
    return earliest, latest, deadline


def _requirement_groups(groups: Iterable[TagGroup]) -> tuple[TagGroup, ...]:
    return tuple(group for group in groups if group.descriptor.code in REQUIREMENT_GROUPS)


def _read(model: type[_Found], groups: Iterable[TagGroup], codes: frozenset[str], path: str) -> _Found:
    """The tags of these groups that `model` has a field for; others are let through unread."""
    fields = {name.replace("_", "-"): name for name in model.model_fields}
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, group in enumerate(groups):
        if group.descriptor.code not in codes:
            continue
        for position, tag in enumerate(group.list):
            if name := fields.get(tag.descriptor.code):
                found[name] = _plain(tag)
                places[name] = f"{path}[{number}].list[{position}].value"
    try:
        return TypeAdapter(model).validate_strings(found)
    except ValidationError as error:
        faults = [(places[str(fault["loc"][0])], fault["msg"]) for fault in error.errors()]
        raise Refused.invalid("; ".join(f"{place}: {message}" for place, message in faults), *dict(faults)) from None


def _plain(tag: Tag) -> str:
    return tag.value.strip()
