"""Access tokens: the good ones are read, and each of the bad ones is refused in words that quote nothing of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bad_tokens import bad_tokens
from grid.half_hours import UTC
from tenancy.signing_keys import KeySet, read_key_set
from tenancy.tokens import LEEWAY_S, QuickSegments, TokenRefused, Tokens
from token_issuer import AUDIENCE, ISSUER, SUBJECT, SigningKey, claims, es256_key, rs256_key, token

ES = es256_key()
RS = rs256_key()
SECRET = "a-legacy-secret-" * 5
BAD = bad_tokens(ES, RS)


class Listed:
    """The keys of a set that never changes."""

    def __init__(self) -> None:
        self.keys: KeySet = read_key_set(json.dumps({"keys": [ES.listed(), RS.listed()]}).encode())

    def find(self, key_id: str) -> jwt.PyJWK | None:
        return self.keys.get(key_id)


def tokens() -> Tokens:
    return Tokens(ISSUER, AUDIENCE, Listed())


@pytest.mark.parametrize("key", [ES, RS], ids=["ES256", "RS256"])
def test_a_good_token_says_who_and_for_whom(key: SigningKey) -> None:
    expires = int(time.time()) + 60
    found = tokens().verified(token(key, exp=expires))
    assert (found.subject, found.operator_id) == (SUBJECT, "op-a")
    assert found.session_id == "5b1a6a52-6d3f-4f0e-9d6d-6b8a4a4f3f10"
    assert found.expires_at == datetime.fromtimestamp(expires, UTC)


def test_what_the_user_may_edit_says_nothing() -> None:
    assert tokens().verified(token(ES, app_metadata=None)).operator_id is None


def test_an_audience_may_stand_in_a_list_and_the_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    for good in (
        token(ES, aud=["other", AUDIENCE]),
        token(ES, iat=now + 5),
        token(ES, nbf=now + 5),
        token(ES, exp=now - 5),
        token(ES, role=None),
    ):
        assert tokens().verified(good).subject == SUBJECT


@pytest.mark.parametrize("why", BAD)
def test_a_bad_token_is_refused(why: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        tokens().verified(BAD[why])
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 120
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize("why", BAD)
def test_a_bad_token_is_refused_where_a_secret_signs(why: str) -> None:
    with pytest.raises(TokenRefused):
        Tokens(ISSUER, AUDIENCE, SECRET).verified(BAD[why])


def test_with_a_secret_its_tokens_are_taken_and_no_others() -> None:
    with_secret = Tokens(ISSUER, AUDIENCE, SECRET)
    signed = jwt.encode(claims(), SECRET, "HS256")
    assert with_secret.verified(signed).subject == SUBJECT
    for refused in (token(ES), token(RS), jwt.encode(claims(), SECRET, "HS512"), jwt.encode(claims(), SECRET + "x")):
        with pytest.raises(TokenRefused):
            with_secret.verified(refused)
    with pytest.raises(TokenRefused):
        tokens().verified(signed)


def test_a_token_that_was_good_is_refused_once_it_has_expired() -> None:
    now = [datetime.now(UTC)]
    known = Tokens(ISSUER, AUDIENCE, Listed(), clock=lambda: now[0])
    short = token(ES, exp=int(now[0].timestamp()) + 60)
    known.verified(short)
    now[0] += timedelta(seconds=60 + LEEWAY_S - 1)
    known.verified(short)
    now[0] += timedelta(seconds=1)
    with pytest.raises(TokenRefused, match="has expired"):
        known.verified(short)


def test_a_token_that_was_good_is_refused_once_its_key_is_listed_no_longer() -> None:
    listed = Listed()
    known = Tokens(ISSUER, AUDIENCE, listed)
    good = token(ES)
    known.verified(good)
    listed.keys = {}
    with pytest.raises(TokenRefused, match="does not list"):
        known.verified(good)


def test_a_token_that_was_good_is_refused_once_its_key_id_stands_for_another_key() -> None:
    listed = Listed()
    known = Tokens(ISSUER, AUDIENCE, listed)
    good = token(ES)
    known.verified(good)
    other = es256_key().listed() | {"kid": ES.listed()["kid"]}
    listed.keys = read_key_set(json.dumps({"keys": [other]}).encode())
    with pytest.raises(TokenRefused, match="signature is wrong"):
        known.verified(good)


BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SEGMENTS = st.one_of(
    st.binary(max_size=24),
    st.lists(st.sampled_from(BASE64URL + b"=+/.\n "), max_size=24).map(bytes),
    st.builds(
        lambda text, padding: bytes(text) + b"=" * padding, st.lists(st.sampled_from(BASE64URL)), st.integers(0, 3)
    ),
)


@given(SEGMENTS)
@example(b"")
@example(b"QQ")  # "A", and
@example(b"QR")  # the same with bits left over
@example(b"QQ==")
@example(b"Q")
@example("é".encode())
def test_a_part_of_a_token_is_read_or_refused_as_the_library_does(segment: bytes) -> None:
    assert _read_by(QuickSegments._decode_base64url_segment, segment) == _read_by(
        jwt.PyJWS._decode_base64url_segment, segment
    )


def _read_by(read: Callable[[bytes, str], bytes], segment: bytes) -> bytes | str:
    try:
        return read(segment, "part")
    except jwt.DecodeError as refused:
        return str(refused)


def test_the_library_reads_the_parts_of_a_token_so(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    quick = QuickSegments._decode_base64url_segment

    def noted(segment: bytes, name: str) -> bytes:
        read.append(name)
        return quick(segment, name)

    monkeypatch.setattr(QuickSegments, "_decode_base64url_segment", staticmethod(noted))
    tokens().verified(token(ES))
    assert read == ["header", "payload", "crypto"]
