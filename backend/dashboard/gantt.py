"""A joint plan as a picture: one row a workload on the plan's time axis, and data centres' power beneath. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from api.joint_answer import CapacityAnswer, JobAnswer, JointPlanAnswer
from dashboard.charts import Chart, Layer, Line, bars, stacked_area
from dashboard.grid_charts import KeyEntry, Panel
from dashboard.time_axis import TimeAxis
from dashboard.words import figure, london_day, number, pounds, short_name, utc_words
from grid.half_hours import HALF_HOUR

ROW_PX, BAR_PX, TOP_PX, BOTTOM_PX = 40, 14, 6, 22
LEAST_HALF_HOURS = 24
AFTER_THE_LAST = 4
"""Half-hours shown after the last run's end."""


def plan_axis(plan: JointPlanAnswer) -> TimeAxis:
    """From the plan's first half-hour until a little after the last run ends."""
    whole = max((len(site.used_kw) for site in plan.capacity), default=LEAST_HALF_HOURS)
    ends = [job.end for job in plan.jobs if job.end is not None]
    needed = [-((plan.half_hours_from - end) // HALF_HOUR) + AFTER_THE_LAST for end in ends]
    return TimeAxis(plan.half_hours_from, min(whole, max([LEAST_HALF_HOURS, *needed])), plan.as_of)


def in_order(plan: JointPlanAnswer) -> list[JobAnswer]:
    """Those that run by data centre and start, those that are left out last."""
    far = datetime.max.replace(tzinfo=plan.as_of.tzinfo)
    return sorted(plan.jobs, key=lambda job: (job.start is None, job.dc_id or "", job.start or far, job.job_id))


def draw_gantt(plan: JointPlanAnswer, axis: TimeAxis, centres: dict[str, str]) -> Markup:
    """When each workload runs, and dashed where it would rather. Its table says the same in words."""
    jobs = in_order(plan)
    height = TOP_PX + ROW_PX * len(jobs) + BOTTOM_PX
    placed = sum(job.status == "placed" for job in jobs)
    sentence = f"{placed} of {len(jobs)} workloads run between {utc_words(axis.start)} and {utc_words(axis.end)}"
    bottom = height - BOTTOM_PX
    parts = [
        Markup('<svg class="chart gantt" width="100%" height="{}" role="img" aria-label="{}">').format(
            height, sentence
        ),
        *(
            Markup('<rect class="night" x="{}" y="0" width="{}" height="{}"/>').format(
                _per_cent(axis.fraction(begun)), _per_cent(axis.fraction(ended) - axis.fraction(begun)), bottom
            )
            for begun, ended in axis.nights()
        ),
        *_hours(axis, bottom),
        Markup('<line class="now" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(
            _per_cent(axis.fraction(axis.now)), bottom
        ),
        *(_row(job, axis, TOP_PX + ROW_PX * place, centres) for place, job in enumerate(jobs)),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def power_panels(plan: JointPlanAnswer, axis: TimeAxis, centres: dict[str, str]) -> list[Panel]:
    """Of every data centre that the plan uses: its power, and the price of its capacity where there is one."""
    panels = []
    for site in plan.capacity:
        if any(site.used_kw):
            name = centres.get(site.dc_id, site.dc_id)
            panels.append(_power(site, name, axis))
            if any(site.price_gbp_per_kw[: axis.half_hours]):
                panels.append(_price(site, name, axis))
    return panels


def _power(site: CapacityAnswer, name: str, axis: TimeAxis) -> Panel:
    used = _cut(site.used_kw, axis)
    free = Line(_cut(site.free_by_half_hour_kw, axis), "line-total", "free before the plan", is_stepped=True)
    most = max(value for value in used if value is not None)
    sentence = (
        f"The plan takes at most {figure(most, 'kW', 1)} in {name}, where {figure(site.free_kw, 'kW', 1)} is free"
    )
    # Beside what is free the plan may be a hair: then the scale is the plan's, and the words say the rest.
    line = free if most > site.free_kw / 20 else None
    layer = Layer(used, "power-running", "the plan", is_stepped=True)
    drawn = stacked_area(Chart(axis, "kW", sentence, 70), [layer], line=line)
    key = [KeyEntry("the plan", "power-running", is_layer=True)]
    if line is not None:
        key.append(KeyEntry("free before it", "line-total solid"))
    words = f"{number(site.free_kw, 1)} kW free before it, at its least"
    return Panel(f"power-{site.dc_id}", name, "IT power, kW", drawn, tuple(key), words)


def _price(site: CapacityAnswer, name: str, axis: TimeAxis) -> Panel:
    prices = _cut(site.price_gbp_per_kw, axis)
    highest = max(value for value in prices if value is not None)
    sentence = f"One more kW in {name} would be worth at most {pounds(highest, 4)} in a half-hour"
    drawn = bars(Chart(axis, "£/kW", sentence, 60), [Layer(prices, "part-carbon", "price")])
    key = (KeyEntry("one more kW is worth", "part-carbon", is_layer=True),)
    return Panel(f"price-{site.dc_id}", f"Price of capacity, {name}", "£ per kW in the half-hour", drawn, key, "")


def _cut(values: Sequence[float], axis: TimeAxis) -> list[float | None]:
    known: list[float | None] = list(values[: axis.half_hours])
    return known + [None] * (axis.half_hours - len(known))


def _row(job: JobAnswer, axis: TimeAxis, y: int, centres: dict[str, str]) -> Markup:
    where = centres.get(job.dc_id, job.dc_id) if job.dc_id else "nowhere"
    if job.status == "left_out":
        why = "no room beside the others" if job.for_capacity else "its own constraints stand in the way"
        label = f"left out: {why}"
        drawn = Markup('<rect class="unknown-run left-out" x="0" y="{}" width="100%" height="{}"/>').format(
            y + 20, BAR_PX
        )
    else:
        label = short_name(where)
        drawn = Markup("").join(
            Markup('<rect class="run" x="{}" y="{}" width="{}" height="{}"/>').format(
                _per_cent(max(0.0, axis.fraction(one.start))),
                y + 20,
                _per_cent(axis.fraction(one.end) - max(0.0, axis.fraction(one.start))),
                BAR_PX,
            )
            for one in job.stretches
        )
        if job.wish is not None and 0 <= axis.fraction(job.wish.start) <= 1:
            drawn += Markup('<line class="wish" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                _per_cent(axis.fraction(job.wish.start)), y + 17, y + 23 + BAR_PX
            )
    return Markup(
        '<g class="job-row"><text class="job-name" x="2" y="{}">{} <tspan class="where">{}</tspan></text>{}</g>'
    ).format(y + 14, job.job_id, label, drawn)


def _hours(axis: TimeAxis, bottom: int) -> list[Markup]:
    marks = [
        Markup('<line class="midnight" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(
            _per_cent(axis.fraction(midnight)), bottom
        )
        for midnight in axis.british_midnights()
        if midnight > axis.start
    ]
    step = 3 if axis.half_hours <= 2 * LEAST_HALF_HOURS else 6
    for moment in axis.every(step):
        local = moment in set(axis.british_midnights())
        css_class = "hour day" if local else "hour" if moment.hour % 6 == 0 else "hour wide-only"
        label = london_day(moment) if local else f"{moment:%H:%M}"
        marks.append(
            Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
                css_class, _per_cent(axis.fraction(moment)), bottom + 15, label
            )
        )
    return marks


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + "%"
