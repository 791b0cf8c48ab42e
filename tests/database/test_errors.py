"""Which troubles blame the data, and which may pass: the first are listed, the rest are the second."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.errors import (
    AccessRefused,
    DatabaseError,
    DatabaseUnreachable,
    DataRefused,
    RowRefused,
    SchemaMissing,
    UniqueConflict,
    error_of_sqlstate,
)

SQLSTATES = st.text(alphabet=string.digits + string.ascii_uppercase, min_size=5, max_size=5)
BLAMES_THE_DATA = ("21", "22", "23", "44", "54", "P0001", "PT4", "PY")
BLAMES_THE_PROGRAM = ("0A", "42", "P0")
ASKS_FOR_RIGHTS = {"42501", "28000", "28P01"}


@pytest.mark.parametrize(
    "code",
    [
        *("53100", "53200", "53300", "53400", "25006", "55P03", "57014", "57P01", "57P03", "08006", "08P01"),
        *("40001", "40P01", "58030", "XX000", "XX001", "26000", "42P05", "0A000", "F0001", "HV000", "25P02"),
        *("408", "425", "429", "500", "502", "503", "504", "520", "523", "524", "527", "530", "540", "544", "599"),
        *("", "200", "302", "PGRST000", "PGRST003", "PGRSTX00", "1020", "none of these"),
    ],
)
def test_trouble_of_the_database_may_pass(code: str) -> None:
    assert isinstance(error_of_sqlstate(code, "said"), DatabaseUnreachable)


@pytest.mark.parametrize(
    "code", ["22P02", "22003", "22P05", "23502", "23503", "23514", "54000", "54001", "P0001", "PT400", "413"]
)
def test_what_was_sent_is_blamed_by_the_codes_that_say_so(code: str) -> None:
    assert type(error_of_sqlstate(code, "said")) is RowRefused


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("23505", UniqueConflict),
        ("42P01", SchemaMissing),
        ("42501", AccessRefused),
        ("401", AccessRefused),
        ("42601", DatabaseError),
        ("PGRST100", DatabaseError),
        ("400", DatabaseError),
    ],
)
def test_the_other_kinds_are_told_apart(code: str, kind: type[DatabaseError]) -> None:
    assert type(error_of_sqlstate(code, "said")) is kind


@given(SQLSTATES)
def test_only_the_listed_classes_blame_the_data_and_all_unknown_ones_may_pass(code: str) -> None:
    found = error_of_sqlstate(code, "said")
    assert isinstance(found, DataRefused) == code.startswith(BLAMES_THE_DATA)
    if not code.startswith((*BLAMES_THE_DATA, *BLAMES_THE_PROGRAM)) and code not in {*ASKS_FOR_RIGHTS, "3F000"}:
        assert isinstance(found, DatabaseUnreachable)


@given(st.integers(min_value=500, max_value=599))
def test_no_status_of_a_server_in_trouble_blames_anybody(status: int) -> None:
    assert isinstance(error_of_sqlstate(str(status), "said"), DatabaseUnreachable)
