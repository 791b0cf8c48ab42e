"""The files that a Supabase user pastes are those that the sources build."""

from __future__ import annotations

import re

import pytest

from database.build_sql import FILES, build


@pytest.mark.parametrize("name", FILES)
def test_the_pasted_file_is_built_from_its_sources_as_they_are_now(name: str) -> None:
    assert FILES[name].read_text(encoding="utf-8") == build(name), "run: python backend/database/build_sql.py"


@pytest.mark.parametrize("name", FILES)
def test_every_function_of_a_file_is_in_the_list_that_it_drops_and_grants(name: str) -> None:
    text = build(name)
    listed = re.search(r"set local pylon\.functions =\s*(.*?);", text, re.DOTALL)
    assert listed is not None
    names = set(re.sub(r"['\n]", " ", listed[1]).split())
    made = set(re.findall(r"create or replace function public\.(\w+)", text))
    assert names == made


def test_every_function_that_is_called_is_made() -> None:
    """PostgreSQL looks into what a function calls only when it gets there."""
    text = "".join(map(build, FILES))
    made = set(re.findall(r"create or replace function public\.(\w+)", text))
    called = set(re.findall(r"\bpublic\.(\w+)\(", re.sub(r"--.*", "", text)))
    assert called <= made
