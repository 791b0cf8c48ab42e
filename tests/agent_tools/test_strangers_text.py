"""Text of strangers: what a reader cannot see is taken out, and it is short."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from agent_tools.strangers_text import LONGEST_TEXT, quoted, quoted_document


@given(st.text(max_size=60), st.integers(min_value=1, max_value=40))
def test_what_is_quoted_is_short_on_one_line_and_hides_nothing(text: str, longest: int) -> None:
    shown = quoted(text, longest)
    assert len(shown) <= longest
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert quoted(shown, longest) == shown


def test_marks_of_direction_and_of_no_width_are_taken_out_and_white_space_is_one_space() -> None:
    assert quoted("a\u202eb\u200bc\u2066d\U000e0041e\ufefff\x1b[31m\n\n g") == "abcdef[31m g"


def test_what_is_too_long_ends_in_dots_however_much_of_it_is_hidden() -> None:
    assert quoted("x" * 500) == "x" * (LONGEST_TEXT - 1) + "…"
    assert quoted("\u200b" * 100_000 + "x") == ""


def test_every_text_of_a_document_is_quoted_and_names_too() -> None:
    assert quoted_document({"a\u202e": ["b\n", {"c": 1, "d": None}]}) == {"a": ["b", {"c": 1, "d": None}]}
