"""What a buyer asks for, as a workload that the scorer understands. Pure.

The tag group `workload-requirements` has `job-id`, `workload-type`, `urgency`, `cpu-cores`, `memory-gb`,
`estimated-energy-kwh`, `deferral-window` (an ISO 8601 duration), `deadline` and `max-price-gbp`; `energy-constraints`
has `max-carbon-intensity-gco2-per-kwh`. Every one may be left out, and stands in either group. Times of the
fulfilment come first: the range of its start is when the workload may start, and its end the deadline.

What a buyer says is bounded field by field before anything is worked out of it; what it says about energy may raise
and never lower what it is sold with, which `beckn.provider.slots` sees to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from beckn.protocol.acknowledgement import Refused
from beckn.protocol.context import Text
from beckn.protocol.objects import COMPUTE_SLOT, CURRENCY, GPU_MINUTE, Label, Tag, TagGroup
from beckn.protocol.values import Decimals, Duration, Timestamp
from beckn.provider.messages_order import GPU_MINUTES_TAKEN, LONGEST_AMOUNT, are_gpu_minutes
from beckn.provider.messages_request import (
    InitiatedOrder,
    Intent,
    IntentItem,
    IntentStop,
    OrderedItem,
    SaidTag,
    SaidTags,
    SelectedOrder,
)
from decisions.scoring.context import Task
from printable import printable
from vocabulary import Urgency, WorkloadType

REQUIREMENT_GROUPS = frozenset({"workload-requirements", "energy-constraints"})
MOST_ON_A_PAGE = 50
USUALLY_ON_A_PAGE = 20
LONGEST_WINDOW = timedelta(days=365)

MOST_OF_ANYTHING = 1e12
"""The most of any amount that a tag may state, in the tag's unit."""

_MINUTE = timedelta(minutes=1)
_ITEM = "message.intent.item"
_QUANTITY = f"{_ITEM}.quantity.selected.measure.value"
_PRICE = f"{_ITEM}.price"
_Amount = Annotated[float, Field(ge=0, le=MOST_OF_ANYTHING, allow_inf_nan=False)]
_DECIMAL = TypeAdapter(Decimals)
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
    unsold: str | None = None
    """Why nothing of the kind is sold here, if so: something else than compute is sought, or in another currency."""


def wanted_by_intent(intent: Intent, now: datetime) -> Wanted:
    """The workload that a search describes, at `now`.

    Raises:
        Refused: a tag's value is not what the tag takes.
    """
    tags = intent.tags or ()
    needs = _read(Requirements, tags, REQUIREMENT_GROUPS, "message.intent.tags")
    item = intent.item or IntentItem()
    code = item.descriptor.code if item.descriptor else None
    known = WorkloadType(code) if code in set(WorkloadType) else None
    wanted = _wanted(
        needs,
        workload_type=known,
        gpu_minutes=_intended_gpu_minutes(item),
        max_price_gbp=_highest_price_gbp(item),
        stops=intent.fulfillment.stops or (),
        now=now,
        tags=_requirement_groups(tags),
    )
    return replace(wanted, unsold=_why_unsold(intent, item, code if known is None else None))


def wanted_by_order(order: SelectedOrder | InitiatedOrder, now: datetime) -> Wanted:
    """The workload that is ordered, at `now`. Its window is in its tags: the fulfilment's times are the slot's.

    Raises:
        Refused: a tag's value is not what the tag takes.
    """
    item: OrderedItem = order.items[0]
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


def _intended_gpu_minutes(item: IntentItem) -> float | None:
    measure = item.quantity.selected.measure if item.quantity and item.quantity.selected else None
    if measure is None or measure.unit != GPU_MINUTE or measure.value is None:
        return None
    if not _is_decimal(measure.value) or not are_gpu_minutes(measure.value):
        raise Refused.invalid(f"{_QUANTITY}: {GPU_MINUTES_TAKEN}", _QUANTITY)
    return float(measure.value)


def _highest_price_gbp(item: IntentItem) -> float | None:
    said = item.price.maximum_value if item.price else None
    if item.price is None or said is None or item.price.currency not in {None, CURRENCY}:
        return None
    path = f"{_PRICE}.maximum_value"
    if item.price.currency is None:
        raise Refused.invalid(
            f"{_PRICE}.currency: a price needs a currency, such as {CURRENCY}", f"{_PRICE}.currency"
        )
    if not _is_decimal(said) or not 0 <= float(said) <= MOST_OF_ANYTHING:
        raise Refused.invalid(f"{path}: Input should be an amount from 0 to {MOST_OF_ANYTHING:.0f}", path)
    return float(said)


def _is_decimal(text: str) -> bool:
    try:
        return len(_DECIMAL.validate_python(text)) <= LONGEST_AMOUNT
    except ValidationError:
        return False


def _why_unsold(intent: Intent, item: IntentItem, unknown_code: str | None) -> str | None:
    """What in an intent is of another trade than compute, in words; None where nothing is."""
    measure = item.quantity.selected.measure if item.quantity and item.quantity.selected else None
    category = intent.category.descriptor.code if intent.category and intent.category.descriptor else None
    named = item.descriptor.code if item.descriptor else None
    if unknown_code is not None:
        return f"Compute is sold here, for {', '.join(WorkloadType)}; {printable(unknown_code)} is none of them."
    if measure and measure.unit not in {None, GPU_MINUTE}:
        return f"Compute is sold here by the {GPU_MINUTE}, not by the {printable(measure.unit)}."
    if category not in {None, COMPUTE_SLOT} and named is None and measure is None:
        return f"What is sold here is slots of compute ({COMPUTE_SLOT}), not {printable(category)}."
    if item.price and item.price.maximum_value is not None and item.price.currency not in {None, CURRENCY}:
        return f"Prices here are in {CURRENCY}, so a limit in {printable(item.price.currency)} cannot be applied."
    return None


def _wanted(
    needs: Requirements,
    *,
    workload_type: WorkloadType | None,
    gpu_minutes: float | None,
    max_price_gbp: float | None,
    stops: Iterable[IntentStop],
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
        deferral_window_mins=min(max(timedelta(0), window), LONGEST_WINDOW) / _MINUTE if window is not None else None,
        created_at=now,
    )
    return Wanted(task, start, tags)


def _times(stops: Iterable[IntentStop]) -> tuple[datetime | None, datetime | None, datetime | None]:
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


def _requirement_groups(groups: Iterable[SaidTags]) -> tuple[TagGroup, ...]:
    """The groups that are read here, with the tags that they have a value for, in our own form."""
    kept = []
    for group in groups:
        if (group_code := _code(group)) not in REQUIREMENT_GROUPS:
            continue
        tags = tuple(
            Tag(descriptor=Label(code=code), value=tag.value)
            for tag in group.list
            if (code := _code(tag)) and isinstance(tag.value, str)
        )
        kept.append(TagGroup(descriptor=Label(code=group_code), display=True, list=tags))
    return tuple(kept)


def _code(labelled: SaidTags | SaidTag) -> str:
    """What a group or a tag is called; nothing where it is not coded."""
    return (labelled.descriptor.code if labelled.descriptor else None) or ""


def _read(model: type[_Found], groups: Iterable[SaidTags], codes: frozenset[str], path: str) -> _Found:
    """The tags of these groups that `model` has a field for; others are let through unread."""
    fields = {name.replace("_", "-"): name for name in model.model_fields}
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, group in enumerate(groups):
        if _code(group) not in codes:
            continue
        for position, tag in enumerate(group.list):
            if (name := fields.get(_code(tag))) is None:
                continue
            places[name] = f"{path}[{number}].list[{position}].value"
            if not isinstance(tag.value, str):
                raise Refused.invalid(f"{places[name]}: Input should be a valid string", places[name])
            found[name] = tag.value.strip()
    try:
        return TypeAdapter(model).validate_strings(found)
    except ValidationError as error:
        faults = [(places[str(fault["loc"][0])], fault["msg"]) for fault in error.errors()]
        raise Refused.invalid("; ".join(f"{place}: {message}" for place, message in faults), *dict(faults)) from None
