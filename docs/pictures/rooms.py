"""The rooms of the code, in the order in which they may import each other: what `.importlinter` says, drawn."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from svg import Drawing

CONTRACTS = Path(__file__).resolve().parents[2] / ".importlinter"
PROGRAMS = ("api_server.py", "BG.py", "BPP.py")
BENEATH = "settings · vocabulary · clock · hardware · printable · log lines"

WIDTH = 860
MARGIN = 24
GAP = 14
ROW_HEIGHT = 62
INNER_HEIGHT = 20
BETWEEN_ROWS = 26

Layers = tuple[tuple[str, ...], ...]
"""From the highest to the lowest; what is side by side in one imports none of its neighbours."""


def contracts(text: str | None = None) -> dict[str, Layers]:
    """The layers of the whole house, under "", and of each room that has layers of its own, under its name."""
    parser = ConfigParser()
    parser.read_string(CONTRACTS.read_text(encoding="utf-8") if text is None else text)
    return {
        parser[section].get("containers", "").strip(): tuple(
            tuple(room.strip(" ()") for room in line.split("|"))
            for line in parser[section]["layers"].split("\n")
            if line
        )
        for section in parser.sections()
        if parser[section].get("type") == "layers"
    }


def rooms() -> str:
    """One row a layer, the programs above them all."""
    found = contracts()
    rows = [PROGRAMS, *found[""], (BENEATH,)]
    heights = [_height(row, found) for row in rows]
    height = 2 * MARGIN + sum(heights) + BETWEEN_ROWS * (len(rows) - 1)
    drawing = Drawing(WIDTH, height, "The rooms of the code: each may import those in the rows below it")
    y = MARGIN
    for number, (row, row_height) in enumerate(zip(rows, heights, strict=True)):
        if number:
            drawing.arrow_down(WIDTH / 2, y - BETWEEN_ROWS + 4, y - 4)
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        for place, room in enumerate(row):
            x = MARGIN + place * (width + GAP)
            drawing.box(x, y, width, row_height, "box", corner=6)
            _label(drawing, x + width / 2, y, room, found.get(room, ()))
        y += row_height + BETWEEN_ROWS
    return drawing.svg()


def _height(row: tuple[str, ...], found: dict[str, Layers]) -> int:
    return ROW_HEIGHT - 22 + max(INNER_HEIGHT * len(found.get(room, ())) for room in row)


def _label(drawing: Drawing, x: float, y: float, room: str, inside: Layers) -> None:
    drawing.text(x, y + 25, room, "strong middle")
    for number, layer in enumerate(inside, start=1):
        drawing.text(x, y + 25 + INNER_HEIGHT * number, "  |  ".join(layer), "small middle")
