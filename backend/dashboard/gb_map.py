"""Great Britain's fourteen licence areas as a straight-edged plan: our own drawing, not a survey.

Each area lies where it lies and borders on those that it borders on; sizes are chosen to be read and touched, so
London is as wide as a thumb. Pure: figures in, SVG out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from dashboard.words import UNKNOWN, number
from vocabulary import CarbonIndex

WIDTH, HEIGHT = 470, 800

Point = tuple[int, int]


@dataclass(frozen=True)
class Area:
    """One licence area of the plan: its corners in order, a name that fits, and where its words are centred."""

    region_id: int
    name: str
    corners: tuple[Point, ...]
    centre: Point

    def edges(self) -> list[tuple[Point, Point]]:
        """Its sides, each from the corner that is least."""
        closed = [*self.corners, self.corners[0]]
        return [(min(one, other), max(one, other)) for one, other in pairwise(closed)]


# Corners on a border stand in both areas, so that a shared side is the same two points in each.
AREAS: tuple[Area, ...] = (
    Area(
        1,
        "N Scotland",
        (
            (110, 14),
            (216, 14),
            (248, 44),
            (232, 84),
            (296, 108),
            (312, 136),
            (284, 190),
            (112, 190),
            (72, 150),
            (62, 86),
        ),
        (186, 116),
    ),
    Area(
        2,
        "S Scotland",
        ((112, 190), (284, 190), (296, 214), (288, 236), (330, 290), (240, 290), (150, 290), (118, 262)),
        (212, 242),
    ),
    Area(
        3,
        "North West",
        ((150, 290), (240, 290), (240, 354), (256, 430), (238, 430), (208, 430), (168, 430), (146, 392)),
        (197, 362),
    ),
    Area(4, "North East", ((240, 290), (330, 290), (352, 330), (352, 354), (240, 354)), (294, 324)),
    Area(5, "Yorkshire", ((240, 354), (352, 354), (388, 392), (382, 430), (256, 430)), (314, 394)),
    Area(6, "N Wales", ((168, 430), (208, 430), (208, 514), (84, 514), (66, 484), (84, 446)), (142, 474)),
    Area(7, "S Wales", ((84, 514), (208, 514), (208, 582), (184, 600), (112, 600), (70, 574)), (144, 558)),
    Area(
        8,
        "W Mids",
        ((208, 430), (238, 430), (288, 486), (288, 572), (288, 592), (248, 592), (208, 592), (208, 582), (208, 514)),
        (247, 528),
    ),
    Area(
        9,
        "E Mids",
        ((238, 430), (256, 430), (382, 430), (398, 466), (352, 496), (352, 572), (288, 572), (288, 486)),
        (324, 500),
    ),
    Area(
        10,
        "East",
        ((398, 466), (446, 474), (464, 506), (460, 560), (432, 602), (416, 602), (352, 602), (352, 572), (352, 496)),
        (408, 544),
    ),
    Area(
        11,
        "South West",
        (
            (208, 592),
            (248, 592),
            (248, 706),
            (196, 718),
            (160, 752),
            (84, 788),
            (48, 782),
            (106, 716),
            (116, 660),
            (180, 648),
        ),
        (190, 680),
    ),
    Area(
        12,
        "South",
        ((248, 592), (288, 592), (288, 572), (352, 572), (352, 602), (352, 654), (352, 708), (306, 716), (248, 706)),
        (300, 656),
    ),
    Area(13, "London", ((352, 602), (416, 602), (416, 654), (352, 654)), (384, 628)),
    Area(
        14,
        "South East",
        ((416, 602), (432, 602), (464, 632), (460, 672), (420, 706), (352, 708), (352, 654), (416, 654)),
        (400, 676),
    ),
)


@dataclass(frozen=True)
class Reading:
    """What an area shows: an intensity in gCO2/kWh with the API's word for it, None where unknown."""

    name: str
    intensity_gco2_per_kwh: float | None
    index: CarbonIndex | None
    is_invented: bool = False

    @property
    def css_class(self) -> str:
        return index_class(self.index)

    @property
    def sentence(self) -> str:
        if self.intensity_gco2_per_kwh is None:
            return f"{self.name}: {UNKNOWN}"
        remark = ", synthetic" if self.is_invented else ""
        return f"{self.name}: {number(self.intensity_gco2_per_kwh)} gCO₂/kWh, {self.index or UNKNOWN}{remark}"


def index_class(index: str | None) -> str:
    """The CSS class of one of the five bands, or of unknown."""
    return f"index-{index.replace(' ', '-')}" if index else "index-unknown"


def neighbours() -> set[tuple[int, int]]:
    """Pairs of areas that share a side, the lesser number first."""
    owners: dict[tuple[Point, Point], list[int]] = {}
    for area in AREAS:
        for edge in area.edges():
            owners.setdefault(edge, []).append(area.region_id)
    return {(min(pair), max(pair)) for pair in owners.values() if len(pair) == 2}


def draw_map(readings: Mapping[int, Reading], link: str) -> Markup:
    """The plan as SVG. Every area is a link to `link` with its region_id put in for `{}`."""
    parts = [
        Markup(
            '<svg class="gb-map" viewBox="0 0 {} {}" role="group" aria-label="Great Britain by licence area">'
        ).format(WIDTH, HEIGHT)
    ]
    parts += [_drawn(area, readings.get(area.region_id), link.format(area.region_id)) for area in AREAS]
    return Markup("").join([*parts, Markup("</svg>")])


def _drawn(area: Area, reading: Reading | None, link: str) -> Markup:
    reading = reading or Reading(area.name, None, None)
    x, y = area.centre
    shown = "?" if reading.intensity_gco2_per_kwh is None else number(reading.intensity_gco2_per_kwh)
    return Markup(
        '<a href="{}" class="area {}" data-region="{}" aria-label="{}"><path d="{}"/>'
        '<text class="area-figure" x="{}" y="{}">{}</text><text class="area-name" x="{}" y="{}">{}</text></a>'
    ).format(
        link,
        reading.css_class,
        area.region_id,
        escape(reading.sentence),
        _path(area),
        x,
        y,
        shown + ("*" if reading.is_invented and reading.intensity_gco2_per_kwh is not None else ""),
        x,
        y + 17,
        area.name,
    )


def _path(area: Area) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in area.corners) + "Z"
