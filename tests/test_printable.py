"""No text from outside breaks a line, colours a terminal or fills a log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from printable import printable

anything = st.text(st.characters(exclude_categories=()), max_size=500)


@given(anything, st.integers(min_value=1, max_value=300))
def test_any_text_becomes_one_short_printable_line(text: str, longest: int) -> None:
    line = printable(text, longest)
    assert line.isprintable()
    assert len(line) <= longest
    line.encode()


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=100))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text, 100) == text


def test_line_breaks_escapes_and_half_characters_are_shown_as_escapes() -> None:
    assert printable("a\nb\x1b[31m\x00\ud800") == r"a\nb\x1b[31m\x00\ud800"


def test_what_was_cut_says_so() -> None:
    assert printable("x" * 1000, 5) == "xxxx…"
