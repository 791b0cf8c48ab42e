"""The bytes that are hashed: one way to write a decision, the same in Python and in the database."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.chain.form import (
    COLUMNS,
    DECISION,
    FLEXIBILITY_DECISION,
    Form,
    canonical_bytes,
    decision_hash,
    grid_hash,
)

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
TEXTS = st.fixed_dictionaries({name: st.none() | TEXT for name in COLUMNS})
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=3)
    .map(str)
    .map(float)
    | TEXT
)
DOCUMENT = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
MOMENT = st.sampled_from(["2026-11-22 08:04:11.5+00", "1969-12-31 23:59:59.999999+00", "2199-01-01 00:00+05:30"])


def test_a_decision_is_written_as_documented() -> None:
    texts: dict[str, str | None] = dict.fromkeys(COLUMNS)
    texts |= {"chain_position": "1", "job_id": "job-1", "reasoning": "£3\nless"}
    written = canonical_bytes(texts)
    assert written.startswith(b"pylon decision 1\nchain_position=1:1\nprevious_hash=-\ntenant=-\n")
    assert b"\njob_id=5:job-1\n" in written
    assert b"\nreasoning=8:\xc2\xa33\nless\n" in written
    assert written.endswith(b"\ngrid_digest=-\n")
    assert decision_hash(texts) == hashlib.sha256(written).hexdigest()


@given(TEXTS, TEXTS)
def test_two_decisions_are_never_written_alike(one: dict[str, str | None], other: dict[str, str | None]) -> None:
    assert (canonical_bytes(one) == canonical_bytes(other)) == (one == other)


@given(TEXTS, st.sampled_from(COLUMNS), st.none() | TEXT)
def test_every_column_is_in(texts: dict[str, str | None], name: str, value: str | None) -> None:
    assert (decision_hash(texts) == decision_hash({**texts, name: value})) == (texts[name] == value)


@pytest.fixture(scope="module")
def session(lent_database: str) -> Any:
    with psycopg.connect(lent_database, autocommit=True) as connection:
        yield connection


@given(
    row=st.fixed_dictionaries(
        {
            "decision_id": st.uuids().map(str),
            "chain_position": st.integers(1, 2**63 - 1),
            "tenant": TEXT,
            "job_id": TEXT,
            "scorer": TEXT,
            "scorer_version": TEXT,
            "reasoning": st.none() | TEXT,
            "model": st.none() | TEXT,
            "previous_hash": st.none() | TEXT,
            "sequence": st.none() | st.integers(0, 2**63 - 1),
            "recommended_start": st.none() | MOMENT | st.just("infinity"),
            "decided_at": MOMENT,
            "constraints_evaluated": DOCUMENT,
            "context": DOCUMENT,
            "token_usage": DOCUMENT,
            "output": DOCUMENT,
        }
    )
)
def test_the_database_hashes_the_same_bytes(session: psycopg.Connection[Any], row: dict[str, Any]) -> None:
    """Whatever the time zone and style of the session that publishes."""
    session.execute("set timezone = 'Asia/Kathmandu'; set datestyle = 'German'; set extra_float_digits = 0")
    found = session.execute(
        "select decision_texts(d), decision_hash(d) "
        "from jsonb_populate_record(null::orchestration_decisions, %s) as d",
        (json.dumps(row),),
    ).fetchone()
    assert found is not None
    texts, stored = dict(zip(COLUMNS, found[0], strict=True)), found[1]
    assert decision_hash(texts) == stored
    assert texts["reasoning"] == row["reasoning"]
    assert json.loads(texts["context"] or "null") == row["context"]


@given(
    row=st.fixed_dictionaries(
        {
            "decision_id": st.uuids().map(str),
            "event_id": st.uuids().map(str),
            "chain_position": st.integers(1, 2**63 - 1),
            "tenant": TEXT,
            "previous_hash": st.none() | TEXT,
            "from_state": st.none() | TEXT,
            "to_state": TEXT,
            "reason": st.none() | TEXT,
            "content": DOCUMENT,
            "decided_at": MOMENT,
        }
    )
)
def test_the_database_hashes_the_same_bytes_of_a_decision_on_an_event(
    session: psycopg.Connection[Any], row: dict[str, Any]
) -> None:
    session.execute("set timezone = 'Asia/Kathmandu'; set datestyle = 'German'; set extra_float_digits = 0")
    found = session.execute(
        "select flexibility_decision_texts(d), flexibility_decision_hash(d) "
        "from jsonb_populate_record(null::flexibility_decisions, %s) as d",
        (json.dumps(row),),
    ).fetchone()
    assert found is not None
    texts, stored = dict(zip(FLEXIBILITY_DECISION.columns, found[0], strict=True)), found[1]
    assert decision_hash(texts, FLEXIBILITY_DECISION) == stored
    assert json.loads(texts["content"] or "null") == row["content"]


@pytest.mark.parametrize(
    ("table", "form"), [("orchestration_decisions", DECISION), ("flexibility_decisions", FLEXIBILITY_DECISION)]
)
def test_the_columns_are_all_that_the_table_has(session: psycopg.Connection[Any], table: str, form: Form) -> None:
    columns = session.execute(
        "select attname::text from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        (table,),
    ).fetchall()
    assert {name for (name,) in columns} == {*form.columns, "chain_hash"}


def test_a_grid_is_named_by_the_hash_of_its_text(session: psycopg.Connection[Any]) -> None:
    found = session.execute(
        "select g::text, encode(sha256(convert_to(g::text, 'UTF8')), 'hex') from (select %s::jsonb as g) as given",
        ('{"b": 1.50, "a": "£"}',),
    ).fetchone()
    assert found is not None
    assert grid_hash(found[0]) == found[1]
