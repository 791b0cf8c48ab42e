"""Our own keys: what is one, and that nothing that was changed is."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.keys import NotAKey, mint_key, read_key

LENGTH = len("pyl_") + 12 + 1 + 43 + 6
CHARACTERS = string.ascii_letters + string.digits


def test_a_key_is_read_as_it_was_minted() -> None:
    minted = mint_key()
    assert len(minted.text) == LENGTH
    assert read_key(minted.text) == minted
    assert minted.text.split("_")[1] == minted.key_id


def test_what_is_stored_is_the_digest_of_the_whole_text() -> None:
    minted = mint_key()
    assert minted.digest == hashlib.sha256(minted.text.encode()).digest()
    assert minted.is_the_one_of(minted.digest)
    assert not minted.is_the_one_of(mint_key().digest)


def test_no_two_keys_are_alike() -> None:
    minted = [mint_key() for _ in range(500)]
    assert len({key.key_id for key in minted}) == len({key.text for key in minted}) == 500


def test_a_key_is_in_no_repr() -> None:
    minted = mint_key()
    assert minted.key_id in repr(minted)
    assert minted.text not in repr(minted)


@given(position=st.integers(0, LENGTH - 1), character=st.characters(codec="utf-8"))
def test_any_single_change_is_refused(position: int, character: str) -> None:
    text = mint_key().text
    changed = text[:position] + character + text[position + 1 :]
    if changed == text:
        assert read_key(changed).text == text
    else:
        with pytest.raises(NotAKey):
            read_key(changed)


@given(position=st.integers(0, LENGTH - 1), character=st.sampled_from(CHARACTERS + "_"))
def test_a_single_letter_or_digit_that_is_wrong_is_refused(position: int, character: str) -> None:
    text = mint_key().text
    if text[position] != character:
        with pytest.raises(NotAKey):
            read_key(text[:position] + character + text[position + 1 :])


@given(position=st.integers(0, LENGTH - 1))
def test_a_missing_or_doubled_character_is_refused(position: int) -> None:
    text = mint_key().text
    for changed in (text[:position] + text[position + 1 :], text[:position] + text[position] + text[position:]):
        with pytest.raises(NotAKey):
            read_key(changed)


@given(st.text(max_size=100))
def test_no_other_text_is_a_key(text: str) -> None:
    with pytest.raises(NotAKey):
        read_key(text)


@pytest.mark.parametrize("around", ["{}\n", " {}", "{}\x00", "Bearer {}", "{0}{0}"])
def test_a_key_with_something_around_it_is_none(around: str) -> None:
    with pytest.raises(NotAKey):
        read_key(around.format(mint_key().text))
