"""A drawing as SVG text: lines, boxes and words by class, with one style for light and for dark pages."""

from __future__ import annotations

from html import escape

STYLE = """
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
.small { font-size: 11.5px; fill: var(--quiet); }
.strong { font-weight: 600; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.line { stroke: var(--ink); stroke-width: 1.4; fill: none; }
.answer { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 5 4; fill: none; }
.thin { stroke: var(--faint); stroke-width: 1; fill: none; }
.head { fill: var(--ink); }
.box { fill: var(--panel); stroke: var(--faint); }
.page { fill: var(--page); }
.blue { fill: var(--blue); } .green { fill: var(--green); } .amber { fill: var(--amber); }
.grey { fill: var(--grey); }
.blue-line { stroke: var(--blue); stroke-width: 2.2; fill: none; }
.grey-line { stroke: var(--grey); stroke-width: 1.8; stroke-dasharray: 6 4; fill: none; }
.amber-line { stroke: var(--amber); stroke-width: 1.8; fill: none; }
.pale { opacity: 0.35; }
svg { --page: #ffffff; --panel: #f4f6f8; --ink: #1f2933; --quiet: #52606d; --faint: #c3ccd5;
  --blue: #2f6fb3; --green: #3c8d5a; --amber: #c98a1b; --grey: #8a95a1; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0f151b; --panel: #1b242d; --ink: #e4e9ee; --quiet: #a5b1bd; --faint: #46525e;
    --blue: #6aa5e3; --green: #6dc08b; --amber: #e0ae52; --grey: #8b97a3; }
}
"""


class Drawing:
    """Shapes in the order they are put on the page, measured from the top left in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._width, self._height, self._title = width, height, title
        self._shapes: list[str] = []

    def text(self, x: float, y: float, words: str, css: str = "") -> None:
        self._shapes.append(f'<text x="{x:g}" y="{y:g}" class="{css}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, height: float, css: str, corner: float = 0) -> None:
        self._shapes.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="{corner:g}" class="{css}"/>'
        )

    def line(self, points: list[tuple[float, float]], css: str) -> None:
        corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._shapes.append(f'<polyline points="{corners}" class="{css}"/>')

    def dot(self, x: float, y: float, css: str) -> None:
        self._shapes.append(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="4" class="{css}"/>')

    def arrow(self, start_x: float, end_x: float, y: float, css: str) -> None:
        back = -7 if end_x > start_x else 7
        self.line([(start_x, y), (end_x + back / 2, y)], css)
        tip = f"{end_x:g},{y:g} {end_x + back:g},{y - 4:g} {end_x + back:g},{y + 4:g}"
        self._shapes.append(f'<polygon points="{tip}" class="head"/>')

    def arrow_down(self, x: float, start_y: float, end_y: float) -> None:
        self.line([(x, start_y), (x, end_y - 3.5)], "line")
        self._shapes.append(
            f'<polygon points="{x:g},{end_y:g} {x - 4:g},{end_y - 7:g} {x + 4:g},{end_y - 7:g}" class="head"/>'
        )

    def svg(self) -> str:
        size = f'viewBox="0 0 {self._width} {self._height}" width="{self._width}" height="{self._height}"'
        page = f'<rect width="{self._width}" height="{self._height}" class="page"/>'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(self._title)}</title>",
            f"<style>{STYLE}</style>",
            page,
            *self._shapes,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
