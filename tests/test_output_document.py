"""docs/output.md is one published output, and says what each part of it means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from decisions.publishing import schema as output
from decisions.publishing.rationale import mass, pounds
from decisions.publishing.schema import DecisionOutput

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
PROSE, _, WHOLE = PAGE.partition("## The whole of it")
EXAMPLE = json.loads(re.findall(r"```json\n(.*?)```", WHOLE, re.DOTALL)[0])
SUBMITTED = json.loads(re.findall(r"```json\n(.*?)```", PROSE, re.DOTALL)[0])
PARTS = [model for model in vars(output).values() if isinstance(model, type) and issubclass(model, output._Published)]
KEYS = sorted({field.alias or name for model in PARTS for name, field in model.model_fields.items()})


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every key of a document, without the places in lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*path, key)
            yield from paths(below, (*path, key))
    elif isinstance(value, list):
        for below in value:
            yield from paths(below, path)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from leaves(below)
    else:
        yield value


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_output_is_explained(key: str) -> None:
    assert f"`{key}`" in PROSE


def test_the_page_explains_no_key_that_there_is_not() -> None:
    explained = {
        name for row in re.findall(r"^\| (`.*?) \|", PROSE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert explained <= set(KEYS)


def test_the_example_is_an_output_as_it_is_published() -> None:
    example = DecisionOutput.model_validate(EXAMPLE)
    written = json.loads(example.model_dump_json())
    assert set(paths(written)) == set(paths(EXAMPLE))


def test_the_example_agrees_with_itself() -> None:
    example = DecisionOutput.model_validate(EXAMPLE)
    task = json.loads(example.task.model_dump_json())
    assert {key: task[key] for key in SUBMITTED} == SUBMITTED
    assert example.metadata.dc_count == len(example.data_centre_options)
    best, *_, last = example.data_centre_options
    assert best.dc_id == example.decision.dc_id
    for option in example.data_centre_options:
        assert option.score_breakdown is not None
        assert sum(leaves(json.loads(option.score_breakdown.model_dump_json()))) == pytest.approx(
            option.objective_gbp
        )
    assert best.estimates.recommended is not None
    assert pounds(best.estimates.recommended.cost_gbp) in best.rationale
    assert mass(best.estimates.recommended.carbon_gco2) in best.rationale
    assert last.constraint_violations


def test_it_shows_every_part_but_that_of_a_workload_which_waits() -> None:
    shown = {path[-1] for path in paths(EXAMPLE)}
    assert set(KEYS) - shown == set(output.Waiting.model_fields)


def test_the_models_are_all_found() -> None:
    assert DecisionOutput in PARTS
    assert len([part for part in PARTS if issubclass(part, BaseModel)]) >= 17


def test_the_short_one_in_the_readme_is_a_part_of_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    short = json.loads(re.findall(r"```json\n(.*?)```", readme, re.DOTALL)[0])
    assert_part(short, EXAMPLE)


def assert_part(part: Any, whole: Any) -> None:
    """Every figure of `part` stands at the same place of `whole`."""
    if isinstance(part, dict):
        for key in part:
            assert_part(part[key], whole[key])
    elif isinstance(part, list):
        for one, same in zip(part, whole, strict=False):
            assert_part(one, same)
    else:
        assert part == whole
