"""Draws the pictures of the documents: `make docs`, or python docs/pictures/draw.py with backend/ on the path."""

from __future__ import annotations

from pathlib import Path

from charts import demand_of_a_day, objective_by_start
from rooms import rooms
from sequences import beckn_search, workload_path

PICTURES = Path(__file__).resolve().parent


def pictures() -> dict[str, str]:
    """Every picture as SVG, by the name of its file."""
    scoring = (PICTURES.parent / "scoring.md").read_text(encoding="utf-8")
    return {
        "rooms.svg": rooms(),
        "workload_path.svg": workload_path(),
        "beckn_search.svg": beckn_search(),
        "objective_by_start.svg": objective_by_start(scoring),
        "demand_of_a_day.svg": demand_of_a_day(),
    }


if __name__ == "__main__":
    for name, svg in pictures().items():
        (PICTURES / name).write_text(svg, encoding="utf-8")
