"""The pictures of the documents are those that their scripts draw, and stand in a document."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import draw
import sequences

DOCS = Path(draw.PICTURES).parent
DRAWN = draw.pictures()


@pytest.mark.parametrize("name", DRAWN)
def test_each_picture_is_current(name: str) -> None:
    assert (draw.PICTURES / name).read_text(encoding="utf-8") == DRAWN[name], "run: make docs"


@pytest.mark.parametrize("name", DRAWN)
def test_each_picture_stands_in_a_document_with_words_for_who_cannot_see_it(name: str) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert re.search(rf"!\[[^\]]{{10,}}\]\(pictures/{name}\)", pages)
    assert "prefers-color-scheme: dark" in DRAWN[name]


def test_no_picture_is_left_of_those_that_are_no_longer_drawn() -> None:
    assert {file.name for file in draw.PICTURES.glob("*.svg")} == set(DRAWN)


@pytest.mark.parametrize(
    ("name", "steps"), [("workload_path.svg", sequences.WORKLOAD), ("beckn_search.svg", sequences.SEARCH)]
)
def test_a_sequence_shows_every_step(name: str, steps: tuple[sequences.Step, ...]) -> None:
    words = [
        element.text or "" for element in ElementTree.fromstring(DRAWN[name]).iter() if element.tag.endswith("text")
    ]
    for number, step in enumerate(steps, start=1):
        assert f"{number}  {step.words}" in words


def test_the_chart_of_the_example_shows_its_answer() -> None:
    chart = DRAWN["objective_by_start.svg"]
    assert ">answer<" in chart
    assert "2.18" in chart
    assert chart.count("over cap") > 2
