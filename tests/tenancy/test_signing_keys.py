"""The issuer's key set: what of it is used, and how it is kept current while keys come and go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from outgoing.calls import KeptCaller
from tenancy.signing_keys import KeySetUnreadable, KeysNotRead, SigningKeys, read_key_set
from token_issuer import Issuer, es256_key, issuing, rs256_key

FIRST, SECOND = es256_key("first"), es256_key("second")


def key_set(*listed: Any) -> bytes:
    return json.dumps({"keys": list(listed)}).encode()


def test_keys_that_verify_are_used_each_with_the_algorithm_of_its_kind() -> None:
    rsa = rs256_key()
    found = read_key_set(key_set(FIRST.listed(), rsa.listed(), {**SECOND.listed(), "alg": "ES256"}))
    assert {kid: key.algorithm_name for kid, key in found.items()} == {
        "first": "ES256",
        "rs-1": "RS256",
        "second": "ES256",
    }


@pytest.mark.parametrize(
    "listed",
    [
        {"kty": "oct", "kid": "s", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"},
        FIRST.listed(use="enc"),
        FIRST.listed(alg="HS256"),
        FIRST.listed(alg="none"),
        FIRST.listed(kid=7),
        FIRST.listed(kid=None),
        FIRST.listed(crv="P-384"),
        FIRST.listed(x="AAAA"),
        FIRST.listed(kty=["EC"]),
        rs256_key(bits=1024).listed(),
        "text",
        None,
    ],
)
def test_what_verifies_nothing_here_is_left_out(listed: Any) -> None:
    assert list(read_key_set(key_set(listed, SECOND.listed()))) == ["second"]


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    impostor = es256_key("first")
    found = read_key_set(key_set(FIRST.listed(), impostor.listed()))
    assert found["first"].key.public_numbers() == FIRST.private.public_key().public_numbers()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b"[" * 100_000, b'{"keys": 7}'])
def test_what_is_no_key_set_is_not_read(body: bytes) -> None:
    with pytest.raises(KeySetUnreadable):
        read_key_set(body)


def test_a_set_without_end_is_not_read() -> None:
    with pytest.raises(KeySetUnreadable):
        read_key_set(key_set(*[FIRST.listed()] * 101))


class Reader:
    """A reader of an issuer's keys, and how often it has tried."""

    def __init__(self, issuer: Issuer, *, refresh_s: float, cooldown_s: float) -> None:
        self.times = 0
        self._changed = threading.Condition()
        self._caller = KeptCaller()
        self.keys = SigningKeys(
            issuer.url, self._caller, refresh_s=refresh_s, cooldown_s=cooldown_s, read=self._has_tried
        )

    def wait_until_tried(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.times >= times, 60)

    def wait_until_tried_again(self) -> None:
        """A whole attempt that begins after this call."""
        self.wait_until_tried(self.times + 2)

    def close(self) -> None:
        self.keys.stop()
        self._caller.close()

    def _has_tried(self) -> None:
        with self._changed:
            self.times += 1
            self._changed.notify_all()


@contextmanager
def reading(issuer: Issuer, *, refresh_s: float = 3600, cooldown_s: float = 0.01) -> Iterator[Reader]:
    reader = Reader(issuer, refresh_s=refresh_s, cooldown_s=cooldown_s)
    reader.keys.start()
    try:
        yield reader
    finally:
        reader.close()


def test_before_the_first_reading_nobody_can_tell() -> None:
    with issuing() as issuer:
        unread = Reader(issuer, refresh_s=1, cooldown_s=1)
        with pytest.raises(KeysNotRead):
            unread.keys.find("first")
        assert issuer.asked == 0
        unread.close()


def test_a_key_that_comes_is_known_after_it_was_asked_for_and_one_that_goes_is_not() -> None:
    with issuing() as issuer:
        issuer.lists(FIRST)
        with reading(issuer) as reader:
            reader.wait_until_tried(1)
            assert reader.keys.find("first") is not None
            issuer.lists(FIRST, SECOND)
            assert reader.keys.find("second") is None
            reader.wait_until_tried(2)
            assert reader.keys.find("second") is not None
            issuer.lists(SECOND)
            assert reader.keys.find("unknown") is None
            reader.wait_until_tried(3)
            assert reader.keys.find("first") is None


def test_a_revoked_key_is_forgotten_at_the_next_reading_that_nobody_asked_for() -> None:
    with issuing() as issuer:
        issuer.lists(FIRST, SECOND)
        with reading(issuer, refresh_s=0.02) as reader:
            reader.wait_until_tried(1)
            assert reader.keys.find("first") is not None
            issuer.lists(SECOND)
            reader.wait_until_tried_again()
            assert reader.keys.find("first") is None


def test_many_unknown_keys_are_asked_for_once() -> None:
    with issuing() as issuer:
        issuer.lists(FIRST)
        with reading(issuer, cooldown_s=3600) as reader:
            reader.wait_until_tried(1)
            for number in range(1000):
                assert reader.keys.find(f"made-up-{number}") is None
            assert reader.keys.find("first") is not None
        assert issuer.asked == 1


@pytest.mark.parametrize(("status", "body"), [(500, None), (404, None), (200, b"<html>maintenance</html>")])
def test_the_last_good_set_stands_while_the_issuer_fails_which_is_told(status: int, body: bytes | None) -> None:
    with issuing() as issuer:
        issuer.lists(FIRST)
        with reading(issuer, refresh_s=0.02) as reader:
            reader.wait_until_tried(1)
            assert reader.keys.troubles() == []
            issuer.status, issuer.body = status, body
            reader.wait_until_tried_again()
            assert reader.keys.find("first") is not None
            (trouble,) = reader.keys.troubles()
            assert trouble.startswith("the issuer's signing keys cannot be read: the answer")
            issuer.status, issuer.body = 200, None
            reader.wait_until_tried_again()
            assert reader.keys.troubles() == []


def test_an_issuer_that_is_away_holds_nobody_up() -> None:
    with issuing() as issuer:
        gone = issuer.url
    reader = Reader(Issuer(url=gone), refresh_s=3600, cooldown_s=0.01)
    reader.keys.start()
    reader.wait_until_tried(2)
    with pytest.raises(KeysNotRead):
        reader.keys.find("first")
    assert reader.keys.troubles()
    reader.close()
