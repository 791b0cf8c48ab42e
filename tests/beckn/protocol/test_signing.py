"""Signatures: the published vectors byte for byte, and every reason for which one is refused."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from beckn.protocol.signing import (
    SignatureHeader,
    SignatureProblem,
    SignatureRefused,
    SigningKey,
    digest_of,
    read_public_key,
    sign,
    signing_string,
    verify,
)
from beckn_specification import signing_vectors
from grid.half_hours import UTC

# RFC 8032, section 7.1, test 1: another implementation's key pair.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

NOW = datetime(2026, 11, 22, 8, 4, 11, tzinfo=UTC)
KEY = SigningKey.from_secret(SEED)
KEY_ID = "5e0f4f2a-4d36-4a3b-9d53-0d2b1c6a7e11"
BODY = '{"context": {"action": "search"}, "message": {"name": "Zoë"}}'.encode()


def signed(body: bytes = BODY, *, created: datetime = NOW, lasts: timedelta = timedelta(seconds=30)) -> str:
    return sign(body, key=KEY, subscriber_id="buyer.example", key_id=KEY_ID, created=created, expires=created + lasts)


def problem_of(header: str, body: bytes = BODY, *, now: datetime = NOW, public_key: str = KEY.public_key) -> str:
    with pytest.raises(SignatureRefused) as refused:
        verify(SignatureHeader.parse(header), body, public_key=public_key, now=now)
    return refused.value.problem


VECTORS = signing_vectors()
on_each_set = pytest.mark.parametrize("vectors", VECTORS.values(), ids=list(VECTORS))


def at(unix: int) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


@on_each_set
def test_the_published_header_verifies_and_is_written_the_same_byte_for_byte(vectors: dict[str, Any]) -> None:
    published = vectors["A_bap_authorization_published"]
    body = published["body_utf8"].encode()
    assert digest_of(body) == "BLAKE-512=" + published["blake2b512_digest_b64"]
    header = SignatureHeader.parse(published["header"])
    assert (header.created, header.expires) == (published["created"], published["expires"])
    assert signing_string(body, created=header.created, expires=header.expires) == published["signing_string"]
    verify(header, body, public_key=published["public_key_b64"], now=at(published["created"]))
    assert str(header) == published["header"]


@on_each_set
def test_the_gateways_signature_of_the_same_body_verifies(vectors: dict[str, Any]) -> None:
    body = vectors["A_bap_authorization_published"]["body_utf8"].encode()
    computed = vectors["B_bg_x_gateway_authorization_computed"]
    header = SignatureHeader(
        "bg.example", KEY_ID, computed["created"], computed["expires"], computed["signature_b64"]
    )
    assert signing_string(body, created=header.created, expires=header.expires) == computed["signing_string"]
    verify(header, body, public_key=computed["public_key_b64"], now=at(computed["created"]))


@on_each_set
def test_the_digest_is_blake2b_512(vectors: dict[str, Any]) -> None:
    published = vectors["C_blake2b_512"]
    assert digest_of(published["input"].encode()) == "BLAKE-512=" + published["b64"]


@on_each_set
def test_what_the_vectors_say_must_fail_fails(vectors: dict[str, Any]) -> None:
    published = vectors["A_bap_authorization_published"]
    public_key = read_public_key(published["public_key_b64"])
    header = SignatureHeader.parse(published["header"])
    now = at(published["created"])
    cases = {case["case"]: case for case in vectors["E_negative"]}
    for case in cases.values():
        if "signing_string" in case:  # strings that we never make
            ours = signing_string(published["body_utf8"].encode(), created=header.created, expires=header.expires)
            assert case["signing_string"] != ours
            with pytest.raises(InvalidSignature):
                public_key.verify(base64.b64decode(case["signature_b64"]), case["signing_string"].encode())
    again = next(case for name, case in cases.items() if "re-serialised" in name)["body_utf8"].encode()
    assert json.loads(again) == json.loads(published["body_utf8"])
    with pytest.raises(SignatureRefused) as refused:
        verify(header, again, public_key=published["public_key_b64"], now=now)
    assert refused.value.problem is SignatureProblem.MISMATCH
    with pytest.raises(SignatureRefused) as refused:
        verify(
            header,
            published["body_utf8"].encode(),
            public_key=published["public_key_b64"],
            now=at(published["expires"] + 1),
        )
    assert refused.value.problem is SignatureProblem.EXPIRED


@on_each_set
def test_the_header_of_beckn_2_is_refused_and_not_misread(vectors: dict[str, Any]) -> None:
    four_lines = vectors["D_v2_solicited_callback_4_line"]
    header = signed().replace("(created) (expires) digest", four_lines["headers_attr"])
    with pytest.raises(SignatureRefused) as refused:
        SignatureHeader.parse(header)
    assert refused.value.problem is SignatureProblem.MALFORMED


def test_a_seed_gives_the_key_pair_of_rfc_8032() -> None:
    assert base64.b64decode(KEY.public_key) == PUBLIC
    assert KEY.secret() == base64.b64encode(SEED).decode()


@pytest.mark.parametrize("secret", [SEED, SEED + PUBLIC, base64.b64encode(SEED).decode()])
def test_a_key_is_read_from_a_seed_or_a_libsodium_secret(secret: bytes | str) -> None:
    assert SigningKey.from_secret(secret).public_key == KEY.public_key


@pytest.mark.parametrize("secret", [b"", SEED[:-1], SEED + b"x", SEED + SEED, "no base64!", "c2hvcnQ="])
def test_no_other_secret_is_a_key_and_the_error_does_not_show_it(secret: bytes | str) -> None:
    with pytest.raises(ValueError) as error:
        SigningKey.from_secret(secret)
    assert not secret or str(secret) not in str(error.value)


def test_a_key_does_not_show_its_secret() -> None:
    assert KEY.secret() not in repr(KEY)
    assert KEY.secret() not in str(KEY)


@given(body=st.binary(max_size=300), lasts_s=st.integers(0, 10**6))
def test_what_was_signed_verifies(body: bytes, lasts_s: int) -> None:
    header = SignatureHeader.parse(signed(body, lasts=timedelta(seconds=lasts_s)))
    verify(header, body, public_key=KEY.public_key, now=NOW)
    assert SignatureHeader.parse(str(header)) == header
    assert (header.subscriber_id, header.key_id) == ("buyer.example", KEY_ID)


@given(body=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_body_that_differs_in_one_byte_does_not_verify(body: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(body) - 1))
    other = bytearray(body)
    other[position] ^= data.draw(st.integers(1, 255))
    assert problem_of(signed(body), bytes(other)) is SignatureProblem.MISMATCH


def test_a_body_that_was_parsed_and_written_again_does_not_verify() -> None:
    assert problem_of(signed(), json.dumps(json.loads(BODY)).encode()) is SignatureProblem.MISMATCH


def test_another_key_does_not_verify() -> None:
    assert problem_of(signed(), public_key=SigningKey.generate().public_key) is SignatureProblem.MISMATCH


@pytest.mark.parametrize("field", ["created", "expires"])
def test_times_are_part_of_what_is_signed(field: str) -> None:
    header = signed()
    value = getattr(SignatureHeader.parse(header), field)
    assert problem_of(header.replace(f'{field}="{value}"', f'{field}="{value + 1}"')) is SignatureProblem.MISMATCH


def test_a_clock_may_be_five_seconds_ahead_and_no_more() -> None:
    verify(SignatureHeader.parse(signed()), BODY, public_key=KEY.public_key, now=NOW - timedelta(seconds=5))
    assert problem_of(signed(), now=NOW - timedelta(seconds=6)) is SignatureProblem.NOT_YET_VALID


def test_a_signature_holds_to_the_second_it_names_and_no_longer() -> None:
    verify(SignatureHeader.parse(signed()), BODY, public_key=KEY.public_key, now=NOW + timedelta(seconds=30))
    assert problem_of(signed(), now=NOW + timedelta(seconds=31)) is SignatureProblem.EXPIRED


def test_fractions_of_a_second_never_shorten_a_signature() -> None:
    moment = NOW + timedelta(milliseconds=999)
    header = SignatureHeader.parse(signed(created=moment, lasts=timedelta(milliseconds=500)))
    assert (header.created, header.expires) == (int(NOW.timestamp()), int(NOW.timestamp()) + 2)
    verify(header, BODY, public_key=KEY.public_key, now=moment)


def test_times_may_stand_without_quotes_and_spaces_between_parameters() -> None:
    created = int(NOW.timestamp())
    loose = signed().replace(f'created="{created}"', f"created={created}").replace('",', '", ')
    assert loose != signed()
    verify(SignatureHeader.parse(loose), BODY, public_key=KEY.public_key, now=NOW)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("Signature ", "Bearer "), SignatureProblem.MALFORMED),
        (('keyId="', 'keyid="'), SignatureProblem.MALFORMED),
        ((f"|{KEY_ID}|", "|"), SignatureProblem.MALFORMED),
        (("buyer.example|", "|"), SignatureProblem.MALFORMED),
        (("|ed25519", "|rsa"), SignatureProblem.ALGORITHM),
        (('algorithm="ed25519"', 'algorithm="rsa"'), SignatureProblem.ALGORITHM),
        (('algorithm="ed25519",', ""), SignatureProblem.MALFORMED),
        (('algorithm="ed25519"', 'algorithm="ed25519",algorithm="ed25519"'), SignatureProblem.MALFORMED),
        (("(created) (expires) digest", "digest"), SignatureProblem.MALFORMED),
        (('created="', 'created="-'), SignatureProblem.MALFORMED),
        (('expires="', 'expires="1e3'), SignatureProblem.MALFORMED),
        (('expires="', 'expires="99999'), SignatureProblem.MALFORMED),
        (('expires="17', 'expires="7'), SignatureProblem.MALFORMED),
        (('signature="', 'signature="~'), SignatureProblem.MISMATCH),
        (('signature="', 'signature="AAAA'), SignatureProblem.MISMATCH),
        (("Signature ", 'Signature "'), SignatureProblem.MALFORMED),
    ],
)
def test_a_faulty_header_is_refused_for_its_fault(change: tuple[str, str], problem: SignatureProblem) -> None:
    header = signed()
    assert change[0] in header
    assert problem_of(header.replace(*change)) is problem


@given(st.text(max_size=200) | st.text(max_size=100).map(lambda text: "Signature " + text))
def test_any_text_is_a_header_or_is_refused(text: str) -> None:
    with suppress(SignatureRefused):
        assert SignatureHeader.parse(text).expires >= 0


@pytest.mark.parametrize("public_key", ["", "no base64!", base64.b64encode(PUBLIC[:-1]).decode()])
def test_a_public_key_is_32_bytes_in_base64(public_key: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64"):
        read_public_key(public_key)
