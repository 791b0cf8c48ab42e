"""The map is ours, and lies as the areas lie."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from dashboard.gb_map import AREAS, HEIGHT, WIDTH, Reading, draw_map, neighbours
from vocabulary import CarbonIndex

# Which licence areas border on which.
BORDERS = {
    *((1, 2), (2, 3), (2, 4), (3, 4), (3, 5), (3, 6), (3, 8), (3, 9), (4, 5), (5, 9), (6, 7), (6, 8), (7, 8), (8, 9)),
    *((8, 11), (8, 12), (9, 10), (9, 12), (10, 12), (10, 13), (10, 14), (11, 12), (12, 13), (12, 14), (13, 14)),
}


def double_area(corners: tuple[tuple[int, int], ...]) -> int:
    closed = [*corners, corners[0]]
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(closed)))


def holds(corners: tuple[tuple[int, int], ...], point: tuple[int, int]) -> bool:
    """Whether a point lies within a polygon, by counting sides to its right."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside


def test_the_fourteen_areas_border_on_those_that_they_border_on() -> None:
    assert [area.region_id for area in AREAS] == list(range(1, 15))
    assert neighbours() == BORDERS


def test_no_area_covers_another_one() -> None:
    whole = sum(double_area(area.corners) for area in AREAS)
    covered = sum(
        any(holds(area.corners, (x, y)) for area in AREAS) for x in range(1, WIDTH, 4) for y in range(1, HEIGHT, 4)
    )
    assert abs(whole / 2 / (16 * covered) - 1) < 0.01


def test_every_figure_stands_in_its_own_area() -> None:
    for area in AREAS:
        assert holds(area.corners, area.centre)


def test_london_is_wide_enough_to_touch_on_a_phone() -> None:
    london = AREAS[12].corners
    narrowest_map_px = 280
    width = max(x for x, _ in london) - min(x for x, _ in london)
    height = max(y for _, y in london) - min(y for _, y in london)
    assert min(width, height) * narrowest_map_px / WIDTH >= 24  # WCAG 2.2, 2.5.8


def test_an_unknown_area_says_so_and_zero_is_zero() -> None:
    readings = {1: Reading("North Scotland", 0, CarbonIndex.VERY_LOW), 2: Reading("South Scotland", None, None)}
    drawn = ElementTree.fromstring(draw_map(readings, "/regions/{}"))
    first, second = drawn.findall("a")[:2]
    assert first.get("class") == "area index-very-low"
    assert first.get("aria-label") == "North Scotland: 0 gCO₂/kWh, very low"
    assert [text.text for text in first.findall("text")] == ["0", "N Scotland"]
    assert second.get("class") == "area index-unknown"
    assert second.get("aria-label") == "South Scotland: unknown"
    assert [text.text for text in second.findall("text")] == ["?", "S Scotland"]


def test_a_synthetic_figure_is_told_in_word_and_shape() -> None:
    drawn = ElementTree.fromstring(draw_map({13: Reading("London", 120, CarbonIndex.LOW, True)}, "/regions/{}"))
    london = drawn.findall("a")[12]
    assert london.get("aria-label") == "London: 120 gCO₂/kWh, low, synthetic"
    assert london.findall("text")[0].text == "120*"


def test_a_hostile_name_stays_text() -> None:
    drawn = draw_map({1: Reading('"><script>alert(1)</script>', 1, None)}, "/regions/{}")
    assert "<script" not in drawn
    ElementTree.fromstring(drawn)
