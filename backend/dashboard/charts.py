"""Charts as SVG, drawn by pure functions: series and a time axis in, text out.

A chart is as wide as its place: positions along the time axis are per cent, heights are pixels, and curves lie in an
inner picture that is stretched, whose strokes are not. So type keeps its size on every screen. What a figure is, is
told by shape as well as by colour: modelled and synthetic figures are dashed, and unknown half-hours are hatched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from markupsafe import Markup, escape

from dashboard.time_axis import TimeAxis
from dashboard.words import london_day, number

TOP, BOTTOM = 14, 22
"""Pixels above the plot, for the label of the highest line, and below it, for the hours."""

_INNER_HEIGHT = 1000
_BAR_HEIGHT = 28
_LEAST_SPAN = 1e-6
"""Of the size of its figures: what spans less is drawn as one level."""
_NARROW_STEP_HOURS, _WIDE_STEP_HOURS = 12, 6
_ROOM_FOR_WORD = 0.2
"""Of the plot's width."""
_ROOM_FOR_DAY = timedelta(hours=5)
"""Within less the half-hours are named, and no day."""
_ROOM_FOR_DAY_WHEN_NARROW = 0.17
"""Of the plot's width, on a telephone."""
_LONGEST_WITH_HOURS_WHEN_NARROW = timedelta(hours=48)

Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One curve: a value for every half-hour of the axis, None where it is unknown.

    Attributes:
        css_class: what colours it.
        label: its name, in the key above the plot.
        is_firm: for every half-hour, whether the figure is measured; what is not is dashed. None: all is.
        is_stepped: drawn level within each half-hour, as what is agreed by the half-hour is.
    """

    values: Values
    css_class: str
    label: str
    is_firm: Sequence[bool] | None = None
    is_stepped: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer of a stack: a value for every half-hour, None where it is unknown; level within each if stepped."""

    values: Values
    css_class: str
    label: str
    is_stepped: bool = False


@dataclass(frozen=True)
class Threshold:
    """A level that means something, told at its left edge."""

    value: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Heights of values: the lowest and the highest line, and those between."""

    ticks: tuple[float, ...]
    plot_height: int
    decimals: int = 0

    @property
    def lowest(self) -> float:
        return self.ticks[0]

    @property
    def highest(self) -> float:
        return self.ticks[-1]

    def share(self, value: float) -> float:
        """0 at the bottom of the plot, 1 at its top."""
        return (value - self.lowest) / (self.highest - self.lowest)

    def y_px(self, value: float) -> float:
        """From the top of the picture."""
        return TOP + (1 - self.share(value)) * self.plot_height

    def inner_y(self, value: float) -> int:
        return round((1 - self.share(value)) * _INNER_HEIGHT)


@dataclass(frozen=True)
class Chart:
    """What all charts have: an axis, a unit, a height, a sentence that says what is to be seen."""

    axis: TimeAxis
    unit: str
    sentence: str
    plot_height: int = 130
    thresholds: Sequence[Threshold] = field(default_factory=tuple)


def nice_ticks(lowest: float, highest: float, about: int = 3) -> tuple[float, ...]:
    """Round figures from one at or below `lowest` to one at or above `highest`, some `about` steps apart."""
    size = max(1.0, abs(lowest), abs(highest))
    if highest - lowest < _LEAST_SPAN * size:
        highest = lowest + size
    rough = (highest - lowest) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= rough * 0.999)
    first, last = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    return tuple(round(step * count, 10) for count in range(first, last + 1))


def line_chart(chart: Chart, lines: Sequence[Line], *, from_zero: bool = True) -> Markup:
    """Curves over time. Half-hours in which every one of them is unknown are hatched."""
    known = [value for line in lines for value in line.values if value is not None]
    known += [threshold.value for threshold in chart.thresholds]
    scale = _scale(chart, min([0.0, *known] if from_zero else known or [0.0]), max(known, default=1.0))
    curves = Markup("").join(_curve(line, scale) for line in lines)
    unknown = [all(line.values[slot] is None for line in lines) for slot in range(chart.axis.half_hours)]
    return _picture(chart, scale, _inner(chart.axis, curves), unknown)


def stacked_area(
    chart: Chart, layers: Sequence[Layer], *, highest: float | None = None, line: Line | None = None
) -> Markup:
    """Layers on one another, the first at the bottom, and perhaps a line above.

    A half-hour is hatched where all of its layers are unknown.
    """
    tops = _tops(layers, chart.axis.half_hours)
    greatest = max((top[-1] for top in tops if top is not None), default=1.0)
    if line is not None:
        greatest = max([greatest, *(value for value in line.values if value is not None)])
    scale = _scale(chart, 0.0, highest if highest is not None else greatest)
    drawn = [_layer(tops, place, layer, scale) for place, layer in enumerate(layers)]
    if line is not None:
        drawn.append(_curve(line, scale))
    return _picture(chart, scale, _inner(chart.axis, Markup("").join(drawn)), [top is None for top in tops])


def bars(chart: Chart, layers: Sequence[Layer]) -> Markup:
    """The same as stacked columns, one a half-hour."""
    tops = _tops(layers, chart.axis.half_hours)
    scale = _scale(chart, 0.0, max((top[-1] for top in tops if top is not None), default=1.0))
    drawn = []
    for place, layer in enumerate(layers):
        path = "".join(
            f"M{10 * slot + 1} {scale.inner_y(top[place])}h8V{scale.inner_y(top[place + 1])}h-8Z"
            for slot, top in enumerate(tops)
            if top is not None and top[place + 1] > top[place]
        )
        drawn.append(Markup('<path class="layer {}" d="{}"/>').format(layer.css_class, path))
    return _picture(chart, scale, _inner(chart.axis, Markup("").join(drawn)), [top is None for top in tops])


def sparkline(values: Values, css_class: str = "", unit: str = "") -> Markup:
    """One small curve without axes."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup('<span class="unknown">unknown</span>')
    scale = Scale((min(0.0, *known, 0.0), max(*known, 1.0, 1.0)), 26)
    curve = _curve(Line(values, css_class, ""), scale)
    sentence = f"between {number(min(known))} and {number(max(known))} {unit}"
    return Markup(
        '<svg class="sparkline" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(10 * len(values), _INNER_HEIGHT, sentence, curve)


def shares_bar(layers: Sequence[Layer], slot: int, sentence: str) -> Markup:
    """The layers' values in one half-hour as pieces of a bar, the first at its left; together they are all of it."""
    values = [max(0.0, layer.values[slot] or 0.0) for layer in layers]
    whole = sum(values) or 1.0
    drawn, at = [], 0.0
    for layer, value in zip(layers, values, strict=True):
        width = value / whole
        drawn.append(
            Markup('<rect class="layer {}" x="{}" width="{}" height="{}"/>').format(
                layer.css_class, _per_cent(at), _per_cent(width), _BAR_HEIGHT
            )
        )
        at += width
    return Markup('<svg class="chart shares" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        _BAR_HEIGHT, sentence, Markup("").join(drawn)
    )


def _scale(chart: Chart, lowest: float, highest: float) -> Scale:
    ticks = nice_ticks(lowest, highest)
    step = ticks[1] - ticks[0]
    decimals = 0 if step >= 1 and float(step).is_integer() else 1 if round(step * 10, 6).is_integer() else 2
    return Scale(ticks, chart.plot_height, decimals)


def _tops(layers: Sequence[Layer], half_hours: int) -> list[list[float] | None]:
    """For every half-hour the height below the first layer and on top of each; None where nothing is known."""
    found: list[list[float] | None] = []
    for slot in range(half_hours):
        values = [layer.values[slot] for layer in layers]
        if all(value is None for value in values):
            found.append(None)
            continue
        tops = [0.0]
        for value in values:
            tops.append(tops[-1] + (value or 0.0))
        found.append(tops)
    return found


def runs_of(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where `flags` are true: (first, one after the last), in order."""
    begun: int | None = None
    for place, flag in enumerate([*flags, False]):
        if flag and begun is None:
            begun = place
        elif not flag and begun is not None:
            yield begun, place
            begun = None


def _curve(line: Line, scale: Scale) -> Markup:
    """Through the middles of known half-hours; broken where a figure is unknown, dashed where it is not firm."""
    firm = line.is_firm or [True] * len(line.values)
    parts = []
    for kind, dashed in (("solid", False), ("dashed", True)):
        # A stretch of one kind is joined to the figure after it, so that the two kinds meet.
        drawn = [
            place
            for place, value in enumerate(line.values)
            if value is not None and (firm[place] != dashed or (place > 0 and firm[place - 1] != dashed))
        ]
        wanted = set(drawn)
        path = "".join(f"{_move(line, firm, place, dashed, wanted)}{_point(line, place, scale)}" for place in drawn)
        if path:
            parts.append(Markup('<path class="line {} {}" d="{}"/>').format(line.css_class, kind, path))
    return Markup("").join(parts)


def _point(line: Line, place: int, scale: Scale) -> str:
    """The middle of a half-hour, or all of it."""
    y = scale.inner_y(line.values[place] or 0.0)
    return f"{10 * place} {y}H{10 * place + 10}" if line.is_stepped else f"{10 * place + 5} {y}"


def _move(line: Line, firm: Sequence[bool], place: int, dashed: bool, wanted: set[int]) -> str:
    before = place - 1
    joins = before in wanted and line.values[before] is not None and firm[before] != dashed
    return "L" if joins else "M"


def _layer(tops: Sequence[list[float] | None], place: int, layer: Layer, scale: Scale) -> Markup:
    path = ""
    for first, last in runs_of([top is not None for top in tops]):
        upper: list[tuple[int, int]] = []
        lower: list[tuple[int, int]] = []
        for slot in range(first, last):
            top = tops[slot]
            if top is not None:
                for x in (10 * slot, 10 * slot + 10) if layer.is_stepped else (10 * slot + 5,):
                    upper.append((x, scale.inner_y(top[place + 1])))
                    lower.append((x, scale.inner_y(top[place])))
        # Out to the edges of the first and the last half-hour.
        upper = [(10 * first, upper[0][1]), *upper, (10 * last, upper[-1][1])]
        lower = [(10 * first, lower[0][1]), *lower, (10 * last, lower[-1][1])]
        path += "M" + "L".join(f"{x} {y}" for x, y in [*upper, *reversed(lower)]) + "Z"
    return Markup('<path class="layer {}" d="{}"/>').format(layer.css_class, path)


def _inner(axis: TimeAxis, drawn: Markup) -> Callable[[Scale], Markup]:
    def inner(scale: Scale) -> Markup:
        return Markup(
            '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
        ).format(TOP, scale.plot_height, 10 * axis.half_hours, _INNER_HEIGHT, drawn)

    return inner


def _picture(chart: Chart, scale: Scale, inner: Callable[[Scale], Markup], unknown: Sequence[bool]) -> Markup:
    axis = chart.axis
    height = TOP + scale.plot_height + BOTTOM
    parts = [
        Markup('<svg class="chart" width="100%" height="{}" role="img" aria-label="{}">').format(
            height, escape(chart.sentence)
        ),
        *(_block("night", axis.fraction(start), axis.fraction(end), scale) for start, end in axis.nights()),
        *(
            _block("unknown-run", first / axis.half_hours, last / axis.half_hours, scale)
            for first, last in runs_of(unknown)
        ),
        *_grid_lines(scale),
        *(_unknown_word(first, last, axis, scale) for first, last in runs_of(unknown)),
        inner(scale),
        *_tick_labels(scale, chart.unit),
        *(_threshold(threshold, scale) for threshold in chart.thresholds),
        _hours(axis.start, axis.half_hours, TOP + scale.plot_height),
        *([_upright("now", axis.fraction(axis.now), scale)] if axis.start <= axis.now <= axis.end else []),
        _upright("cursor", axis.number_of(axis.now) / axis.half_hours + 0.5 / axis.half_hours, scale),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _block(css_class: str, start: float, end: float, scale: Scale) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        css_class, _per_cent(start), TOP, _per_cent(end - start), scale.plot_height
    )


def _unknown_word(first: int, last: int, axis: TimeAxis, scale: Scale) -> Markup:
    """The word, where there is room for it."""
    if (last - first) / axis.half_hours < _ROOM_FOR_WORD:
        return Markup("")
    return Markup('<text class="tick hour" x="{}" y="{}">unknown</text>').format(
        _per_cent((first + last) / 2 / axis.half_hours), round(TOP + scale.plot_height / 2 + 4)
    )


def _grid_lines(scale: Scale) -> Iterator[Markup]:
    for tick in scale.ticks:
        y = round(scale.y_px(tick), 1)
        yield Markup('<line class="{}" x1="0" x2="100%" y1="{}" y2="{}"/>').format(
            "zero" if tick == 0 else "grid", y, y
        )


def _tick_labels(scale: Scale, unit: str) -> Iterator[Markup]:
    """On top of their lines, at the left edge; the highest with the unit."""
    for tick in scale.ticks:
        label = number(tick, scale.decimals) + (f" {unit}" if tick == scale.highest else "")
        yield Markup('<text class="tick" x="2" y="{}">{}</text>').format(round(scale.y_px(tick) - 3, 1), label)


def _threshold(threshold: Threshold, scale: Scale) -> Markup:
    y = round(scale.y_px(threshold.value), 1)
    return Markup(
        '<line class="threshold" x1="0" x2="100%" y1="{}" y2="{}"/>'
        '<text class="tick threshold-label" x="100%" dx="-2" y="{}">{}</text>'
    ).format(y, y, round(y - 3, 1), threshold.label)


# The same below every chart of one height, in all pages of a half-hour.
@lru_cache(maxsize=32)
def _hours(start: datetime, half_hours: int, y: int) -> Markup:
    """Days, which begin at British midnight, and between them hours of UTC; `y` is the bottom of the plot.

    Of a few half-hours alone, when each begins.
    """
    axis = TimeAxis(start, half_hours, start)
    if axis.end - axis.start < _ROOM_FOR_DAY:
        return Markup("").join(
            Markup('<text class="slot" x="{}" dx="2" y="{}">{}</text>').format(
                _per_cent(axis.fraction(slot)), y + 15, f"{slot:%H:%M}"
            )
            for slot in axis.slots()
        )
    drawn = []
    midnights = list(axis.british_midnights())
    for midnight in midnights:
        x = axis.fraction(midnight)
        if x > 0:
            drawn.append(
                Markup('<line class="midnight" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                    _per_cent(x), TOP, y + 4
                )
            )
    first = [] if midnights and midnights[0] - axis.start < _ROOM_FOR_DAY else [axis.start]
    days = [*first, *midnights]
    drawn += [
        Markup('<text class="{}" x="{}" dx="2" y="{}">{}</text>').format(
            "day" if axis.fraction(following) - axis.fraction(day) >= _ROOM_FOR_DAY_WHEN_NARROW else "day wide-only",
            _per_cent(axis.fraction(day)),
            y + 15,
            london_day(day),
        )
        for day, following in zip(days, [*days[1:], axis.end], strict=True)
        if axis.end - day >= _ROOM_FOR_DAY
    ]
    has_room = axis.end - axis.start <= _LONGEST_WITH_HOURS_WHEN_NARROW
    for moment in axis.every(_WIDE_STEP_HOURS):
        if any(abs(moment - day) < _ROOM_FOR_DAY for day in [axis.start, *midnights, axis.end]):
            continue
        css_class = "hour" if has_room and moment.hour % _NARROW_STEP_HOURS == 0 else "hour wide-only"
        drawn.append(
            Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
                css_class, _per_cent(axis.fraction(moment)), y + 15, f"{moment:%H:%M}"
            )
        )
    return Markup("").join(drawn)


def _upright(css_class: str, x: float, scale: Scale) -> Markup:
    return Markup('<line class="{0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>').format(
        css_class, _per_cent(x), TOP, TOP + scale.plot_height
    )


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + "%"
