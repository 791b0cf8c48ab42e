"""Charts are text made of series: nothing of a browser is needed to say whether they are right."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from dashboard.charts import (
    Chart,
    Layer,
    Line,
    Threshold,
    bars,
    line_chart,
    nice_ticks,
    runs_of,
    shares_bar,
    stacked_area,
)
from dashboard.time_axis import TimeAxis, is_night

NOW = datetime(2026, 11, 22, 8, 4, tzinfo=timezone.utc)
AXIS = TimeAxis.around(NOW, before=timedelta(hours=1), after=timedelta(hours=2))
FIGURES = st.lists(
    st.none() | st.floats(-1e6, 1e6, allow_nan=False), min_size=AXIS.half_hours, max_size=AXIS.half_hours
)


def parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)


def of_class(drawn: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in drawn.iter() if name in (element.get("class") or "").split()]


def test_a_line_breaks_where_a_figure_is_unknown() -> None:
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line([1, 2, None, 4, 5, 6], "line-1", "power")]))
    (path,) = of_class(drawn, "line")
    assert (path.get("d") or "").count("M") == 2


def test_half_hours_that_no_line_knows_are_hatched() -> None:
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line([None, None, 3, 4, None, 6], "line-1", "power")]))
    assert [(run.get("x"), run.get("width")) for run in of_class(drawn, "unknown-run")] == [
        ("0%", "33.33%"),
        ("66.67%", "16.67%"),
    ]


def test_what_is_modelled_is_dashed_and_joined_to_what_is_measured() -> None:
    firm = [True, True, True, False, False, False]
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line([1, 2, 3, 4, 5, 6], "line-1", "power", firm)]))
    solid, dashed = of_class(drawn, "line")
    assert "solid" in (solid.get("class") or "").split()
    assert "dashed" in (dashed.get("class") or "").split()
    ends = (
        (solid.get("d") or "").replace("M", "L").split("L")[1:],
        (dashed.get("d") or "").replace("M", "L").split("L")[1:],
    )
    assert [len(end) for end in ends] == [4, 3]
    assert ends[0][-1] == ends[1][0]


def test_what_is_agreed_by_the_half_hour_is_level_within_each() -> None:
    drawn = parsed(
        line_chart(Chart(AXIS, "MW", "x"), [Line([2, 0, 0, 0, 0, None], "line-1", "power", is_stepped=True)])
    )
    (path,) = of_class(drawn, "line")
    assert (path.get("d") or "").startswith("M0 0H10L10 1000H20L20 1000H30")


def test_now_is_drawn_only_where_it_is_within_the_axis() -> None:
    for now, drawn in ((NOW, 1), (AXIS.start - timedelta(minutes=1), 0), (AXIS.end + timedelta(minutes=1), 0)):
        chart = Chart(TimeAxis(AXIS.start, AXIS.half_hours, now), "MW", "x")
        assert len(of_class(parsed(line_chart(chart, [Line([1.0] * 6, "line-1", "power")])), "now")) == drawn


def test_of_a_few_half_hours_each_says_when_it_begins() -> None:
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line([1.0] * 6, "line-1", "power")]))
    assert [text.text for text in of_class(drawn, "slot")] == ["07:00", "07:30", "08:00", "08:30", "09:00", "09:30"]
    assert not of_class(drawn, "day")


def test_a_long_stretch_of_unknown_half_hours_says_so() -> None:
    known = [1.0, None, 1.0, None, None, None]
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line(known, "line-1", "power")]))
    assert [text.get("x") for text in of_class(drawn, "tick") if text.text == "unknown"] == ["75%"]


def test_shares_of_one_half_hour_are_a_whole_bar() -> None:
    layers = [
        Layer([None, 30.0], "fuel-gas", "gas"),
        Layer([None, None], "fuel-coal", "coal"),
        Layer([1.0, 90.0], "fuel-wind", "wind"),
    ]
    pieces = of_class(parsed(shares_bar(layers, 1, "x")), "layer")
    assert [(piece.get("x"), piece.get("width")) for piece in pieces] == [
        ("0%", "25%"),
        ("25%", "0%"),
        ("25%", "75%"),
    ]


def test_a_price_below_zero_lies_below_the_axis() -> None:
    drawn = parsed(line_chart(Chart(AXIS, "£/MWh", "x"), [Line([10, -5, 0, 5, 5, 5], "line-1", "price")]))
    labels = [text.text for text in of_class(drawn, "tick")]
    assert "−5" in labels
    assert "0" in labels
    (zero,) = of_class(drawn, "zero")
    assert zero.get("y1") == zero.get("y2")


def test_a_threshold_is_drawn_and_told() -> None:
    chart = Chart(AXIS, "of 1", "x", thresholds=[Threshold(0.95, "only critical work")])
    drawn = parsed(line_chart(chart, [Line([0.1] * 6, "line-1", "stress")]))
    assert of_class(drawn, "threshold")
    assert [text.text for text in of_class(drawn, "threshold-label")] == ["only critical work"]


def test_layers_stand_on_one_another() -> None:
    layers = [Layer([40.0] * 6, "fuel-gas", "gas"), Layer([60.0] * 6, "fuel-wind", "wind")]
    drawn = parsed(stacked_area(Chart(AXIS, "%", "x"), layers, highest=100))
    gas, wind = of_class(drawn, "layer")
    assert {point.split(" ")[1] for point in (gas.get("d") or "")[1:-1].split("L")} == {"600", "1000"}
    assert {point.split(" ")[1] for point in (wind.get("d") or "")[1:-1].split("L")} == {"0", "600"}


def test_what_is_booked_by_the_half_hour_is_drawn_in_steps() -> None:
    layers = [Layer([0.0, 40.0, 40.0, 0.0, 0.0, 0.0], "power-booked", "booked", is_stepped=True)]
    (booked,) = of_class(parsed(stacked_area(Chart(AXIS, "kW", "x"), layers, highest=40)), "layer")
    upper = (booked.get("d") or "")[1:-1].split("L")[:13]
    assert upper[1:7] == ["0 1000", "10 1000", "10 0", "20 0", "20 0", "30 0"]


def test_a_stack_is_hatched_where_nothing_of_it_is_known_and_zero_is_not_unknown() -> None:
    layers = [Layer([None, 0.0, 0.0, 0.0, 0.0, 0.0], "fuel-gas", "gas")]
    drawn = parsed(bars(Chart(AXIS, "kW", "x"), layers))
    assert [(run.get("x"), run.get("width")) for run in of_class(drawn, "unknown-run")] == [("0%", "16.67%")]


def test_a_chart_says_in_a_sentence_what_it_shows_and_hostile_words_stay_text() -> None:
    drawn = line_chart(Chart(AXIS, "MW", '<script>"'), [Line([1.0] * 6, "line-1", "x")])
    assert "<script" not in drawn
    assert parsed(drawn).get("aria-label") == '<script>"'
    assert parsed(drawn).get("role") == "img"


@given(FIGURES)
def test_whatever_is_known_is_drawn_within_the_plot(values: list[float | None]) -> None:
    drawn = parsed(line_chart(Chart(AXIS, "MW", "x"), [Line(values, "line-1", "x")], from_zero=False))
    points = [
        tuple(map(int, point.split(" ")))
        for path in of_class(drawn, "line")
        for point in (path.get("d") or "").replace("M", "L").split("L")[1:]
    ]
    assert len({x for x, _ in points}) == sum(value is not None for value in values)
    assert all(0 <= y <= 1000 for _, y in points)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_hold_what_they_are_for(lowest: float, span: float) -> None:
    ticks = nice_ticks(lowest, lowest + span)
    assert 2 <= len(ticks) <= 7
    slack = 1e-6 * max(1.0, abs(lowest) + span)
    assert ticks[0] <= lowest + slack
    assert ticks[-1] >= lowest + span - slack


@given(st.lists(st.booleans()))
def test_runs_are_where_the_flags_are(flags: list[bool]) -> None:
    assert [any(first <= place < last for first, last in runs_of(flags)) for place in range(len(flags))] == flags


def test_a_day_of_a_clock_change_has_its_midnights() -> None:
    clocks_go_back = TimeAxis(
        datetime(2026, 10, 24, 12, tzinfo=timezone.utc), 96, datetime(2026, 10, 25, tzinfo=timezone.utc)
    )
    assert [f"{midnight:%d %H:%M}" for midnight in clocks_go_back.british_midnights()] == ["24 23:00", "26 00:00"]
    clocks_go_forward = TimeAxis(datetime(2027, 3, 27, 12, tzinfo=timezone.utc), 96, NOW)
    assert [f"{midnight:%d %H:%M}" for midnight in clocks_go_forward.british_midnights()] == ["28 00:00", "28 23:00"]


def test_night_is_night() -> None:
    assert is_night(datetime(2026, 12, 21, 17, tzinfo=timezone.utc))
    assert not is_night(datetime(2026, 12, 21, 12, tzinfo=timezone.utc))
    assert not is_night(datetime(2026, 6, 21, 20, tzinfo=timezone.utc))
    assert is_night(datetime(2026, 6, 22, 0, tzinfo=timezone.utc))
