"""Signatures of Beckn messages, as BECKN-006 describes them. Pure: the time is an argument.

    Authorization: Signature keyId="{subscriber_id}|{key_id}|ed25519",algorithm="ed25519",created="1641287875",
        expires="1641291475",headers="(created) (expires) digest",signature="{base64}"

The signature is Ed25519 over three lines, without a newline at the end:

    (created): 1641287875
    (expires): 1641291475
    digest: BLAKE-512={base64 of the BLAKE2b-512 of the body's bytes}

It holds for the very bytes that were sent: a body that was parsed and written again has another digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vocabulary import StrEnum

ALGORITHM = "ed25519"
SIGNED_HEADERS = "(created) (expires) digest"
CLOCK_SKEW = timedelta(seconds=5)
"""How far in the future a signature may have been made, by the clock of whoever checks it."""

LONGEST_HEADER = 2_000
"""Characters of a signature header; ours have 350."""

_SEED_BYTES = 32
_SECRET_BYTES = 64
_PARAMETERS = ("keyId", "algorithm", "created", "expires", "headers", "signature")
_PARAMETER = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([0-9]+))\s*(?:,|$)')
# Twelve digits reach beyond the year 9999.
_UNIX_TIME = re.compile(r"[0-9]{1,12}")


class SignatureProblem(StrEnum):
    MISSING = "missing"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    MISMATCH = "mismatch"
    UNKNOWN_KEY = "unknown key"
    REVOKED = "revoked"
    WRONG_SIGNER = "wrong signer"


class SignatureRefused(Exception):
    """A signature does not hold; the message says why, for the sender to act on."""

    def __init__(self, problem: SignatureProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class SigningKey:
    """A private Ed25519 key. It never shows itself: neither in `repr` nor in an error."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes | str) -> SigningKey:
        """The key of a secret, as bytes or in base64: a 32-byte seed, or libsodium's 64 bytes, seed and public key.

        Raises:
            ValueError: it is neither, or the halves of a 64-byte secret do not belong together.
        """
        raw = _from_base64(secret) if isinstance(secret, str) else secret
        if raw is None or len(raw) not in {_SEED_BYTES, _SECRET_BYTES}:
            raise ValueError("a signing key is a 32-byte seed or a 64-byte libsodium secret, in base64")
        key = cls(Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES]))
        if len(raw) == _SECRET_BYTES and raw[_SEED_BYTES:] != key._private.public_key().public_bytes_raw():
            raise ValueError("the second half of a 64-byte secret is not the public key of its first half")
        return key

    @property
    def public_key(self) -> str:
        """The public key, base64, as a registry lists it."""
        return _to_base64(self._private.public_key().public_bytes_raw())

    def secret(self) -> str:
        """The seed, base64."""
        return _to_base64(self._private.private_bytes_raw())

    def signature(self, text: str) -> str:
        """The signature of a text, base64."""
        return _to_base64(self._private.sign(text.encode()))


@dataclass(frozen=True)
class SignatureHeader:
    """What a signature header says: whose key signed, when, until when, and the signature (base64)."""

    subscriber_id: str
    key_id: str
    created: int
    expires: int
    signature: str

    @classmethod
    def parse(cls, text: str) -> SignatureHeader:
        """Read the value of an `Authorization` or `X-Gateway-Authorization` header.

        Raises:
            SignatureRefused: it is not of the form at the head of this module, or names another algorithm.
        """
        if len(text) > LONGEST_HEADER:
            raise _malformed(f"it is longer than {LONGEST_HEADER:,} characters")
        parameters = _parameters(_as_sent(text))
        subscriber_id, key_id, algorithm = _key_id_parts(parameters["keyId"])
        if algorithm != ALGORITHM or parameters["algorithm"] != ALGORITHM:
            raise SignatureRefused(
                SignatureProblem.ALGORITHM,
                f"keyId and algorithm must both name {ALGORITHM}, the only one supported here",
            )
        if parameters["headers"] != SIGNED_HEADERS:
            raise _malformed(f'headers must be "{SIGNED_HEADERS}"')
        created, expires = _unix_time(parameters, "created"), _unix_time(parameters, "expires")
        if expires < created:
            raise _malformed("expires is before created")
        return cls(subscriber_id, key_id, created, expires, parameters["signature"])

    def __str__(self) -> str:
        return (
            f'Signature keyId="{self.subscriber_id}|{self.key_id}|{ALGORITHM}",algorithm="{ALGORITHM}",'
            f'created="{self.created}",expires="{self.expires}",headers="{SIGNED_HEADERS}",'
            f'signature="{self.signature}"'
        )


def digest_of(body: bytes) -> str:
    """The digest of a body as the signing string has it: BLAKE2b-512, called BLAKE-512 by BECKN-006."""
    return "BLAKE-512=" + _to_base64(hashlib.blake2b(body, digest_size=64).digest())


def signing_string(body: bytes, *, created: int, expires: int) -> str:
    """What is signed."""
    return f"(created): {created}\n(expires): {expires}\ndigest: {digest_of(body)}"


def sign(
    body: bytes, *, key: SigningKey, subscriber_id: str, key_id: str, created: datetime, expires: datetime
) -> str:
    """The value of the header that signs `body`. It has whole seconds: `created` is rounded down, `expires` up."""
    first, last = int(created.timestamp()), -int(-expires.timestamp() // 1)
    text = signing_string(body, created=first, expires=last)
    return str(SignatureHeader(subscriber_id, key_id, first, last, key.signature(text)))


def verify(header: SignatureHeader, body: bytes, *, public_key: str, now: datetime) -> None:
    """Check that `header` signs `body` with the private half of `public_key`, and does so at `now`.

    Raises:
        SignatureRefused: it was made in the future, has expired, or is not this body's or not this key's.
        ValueError: `public_key` is not an Ed25519 public key in base64.
    """
    moment = now.timestamp()
    if header.created > moment + CLOCK_SKEW.total_seconds():
        raise SignatureRefused(
            SignatureProblem.NOT_YET_VALID,
            f"the signature was made in the future: created {header.created}, and the time here is {moment:.0f}",
        )
    if header.expires < moment:
        raise SignatureRefused(
            SignatureProblem.EXPIRED, f"the signature expired at {header.expires}, and the time here is {moment:.0f}"
        )
    signature = _from_base64(header.signature)
    text = signing_string(body, created=header.created, expires=header.expires)
    try:
        read_public_key(public_key).verify(signature or b"", text.encode())
    except InvalidSignature:
        raise SignatureRefused(
            SignatureProblem.MISMATCH,
            f"the signature does not match this body and the key {header.key_id} of {header.subscriber_id}: "
            "sign exactly the bytes that are sent",
        ) from None


def read_public_key(public_key: str) -> Ed25519PublicKey:
    """A public key as a registry lists it: 32 bytes in base64.

    Raises:
        ValueError: it is not that.
    """
    raw = _from_base64(public_key)
    if raw is None or len(raw) != _SEED_BYTES:
        raise ValueError("a signing public key is 32 bytes in base64")
    return Ed25519PublicKey.from_public_bytes(raw)


def _as_sent(text: str) -> str:
    """A header's text: servers take its bytes for Latin-1, and an id beyond ASCII is sent in UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _parameters(text: str) -> Mapping[str, str]:
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "signature":
        raise _malformed("it must begin with the word Signature")
    found: dict[str, str] = {}
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise _malformed('the word Signature is followed by name="value" pairs with commas between them')
        name, quoted, number = match.groups()
        if name in found:
            raise _malformed(f"{name} appears in it twice")
        found[name] = quoted if quoted is not None else number
        position = match.end()
    missing = [name for name in _PARAMETERS if name not in found]
    if missing:
        raise _malformed(f"{', '.join(missing)} must be in it")
    return found


def _key_id_parts(key_id: str) -> tuple[str, str, str]:
    parts = key_id.split("|")
    if len(parts) != 3 or not all(parts):
        raise _malformed(f'keyId must be "subscriber_id|key_id|{ALGORITHM}"')
    return parts[0], parts[1], parts[2]


def _unix_time(parameters: Mapping[str, str], name: str) -> int:
    if not _UNIX_TIME.fullmatch(parameters[name]):
        raise _malformed(f"{name} must be a time in seconds since 1970")
    return int(parameters[name])


def _malformed(what: str) -> SignatureRefused:
    return SignatureRefused(SignatureProblem.MALFORMED, f"the signature header cannot be read: {what}")


def _to_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
