"""Access tokens of an issuer (Supabase's, or any OpenID Connect issuer's): JWTs, verified and read.

The algorithms are fixed here and bound to the keys, never taken from a token. Whatever a token says about its role is
not passed on: a token is a user's, or it is refused.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import jwt
import orjson
from jwt import PyJWK, PyJWS, PyJWT
from jwt.exceptions import InvalidSubjectError

from grid.half_hours import UTC
from tenancy.remembered import Remembered

LEEWAY_S = 10
LONGEST_TOKEN = 8192
REMEMBERED_S = 60.0
"""A signature that was good under a key stays good; this only bounds what is kept."""
REQUIRED_CLAIMS = ("exp", "sub", "aud", "iss")
USER_ROLE = "authenticated"
SERVICE_ACCOUNT_PREFIX = "svc:"
"""How the subjects of our own service accounts begin. No token may claim to be one."""

PUBLIC_KEY_ALGORITHMS = ("ES256", "RS256")
SECRET_ALGORITHMS = ("HS256",)

EXPIRED = "the token has expired"
_SUBJECT = re.compile(r"[!-~]{1,200}")
_OPERATOR_ID = re.compile(r"[!-~]{1,200}")
_MADE_OF_ANYTHING = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What a text that somebody made up can have the library raise."""


class TokenRefused(Exception):
    """The token proves nothing; the message says why, in words that its holder may read."""


@dataclass(frozen=True)
class VerifiedToken:
    """What a good token says.

    Attributes:
        subject: who it is about, by the issuer's own id.
        operator_id: the operator that its issuer has put into `app_metadata`, if any. A choice, not a right.
        session_id: names the session in logs; not a secret.
    """

    subject: str
    operator_id: str | None
    session_id: str | None
    expires_at: datetime


class QuickSegments(PyJWS):
    """PyJWT's reading and verifying of signatures, without its look at every character of a token, one by one.

    That takes as long as most of a signature. What is the same when it is written again has none but base64url's
    characters, no padding and no bits left over; everything else is left to the library, which refuses it or not.
    """

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        try:
            decoded = urlsafe_b64decode(segment + b"==")
        except ValueError:
            decoded = b""
        if urlsafe_b64encode(decoded).rstrip(b"=") == segment:
            return decoded
        return PyJWS._decode_base64url_segment(segment, name)


class _Verifier(PyJWT):
    """PyJWT with what is asked of every token here."""

    def __init__(self) -> None:
        super().__init__({"require": list(REQUIRED_CLAIMS), "enforce_minimum_key_length": True})
        self._jws = QuickSegments(options=self._get_sig_options())

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        claims = orjson.loads(decoded["payload"])
        if not isinstance(claims, dict):
            raise jwt.DecodeError("the claims are no JSON object")
        return claims


_VERIFIER = _Verifier()


class PublicKeys(Protocol):
    """Where public keys are found."""

    def find(self, key_id: str) -> PyJWK | None:
        """The key with this id, if there is one."""
        ...


class Tokens:
    """Verifies the tokens of one issuer for one audience: with its public keys, or with a shared secret."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: PublicKeys | str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`keys`: where the public keys are, or the secret that HS256 signs with."""
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._clock = clock
        # Under the key itself: a token whose key is listed no longer, or anew, is looked at again.
        self._good: Remembered[tuple[bytes, PyJWK | str], VerifiedToken] = Remembered(longest_s=REMEMBERED_S)

    def verified(self, token: str) -> VerifiedToken:
        """What the token says.

        Raises:
            TokenRefused: it is not one of this issuer's for this audience, or does not hold now.
            KeysNotRead: nobody can tell, for the issuer's keys have never been read.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenRefused(f"the token is longer than {LONGEST_TOKEN} characters")
        key, algorithms = self._key_for(token)
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        good = self._good.answer((digest, key), lambda: self._decoded(token, key, algorithms))
        if good.expires_at + timedelta(seconds=LEEWAY_S) <= self._clock():
            raise TokenRefused(EXPIRED)
        return good

    def _decoded(self, token: str, key: PyJWK | str, algorithms: list[str]) -> VerifiedToken:
        try:
            claims = _VERIFIER.decode(
                token,
                key,
                algorithms=algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
            )
            return _read(claims)
        except TokenRefused:
            raise
        except jwt.ExpiredSignatureError:
            raise TokenRefused(EXPIRED) from None
        except _MADE_OF_ANYTHING as error:
            raise TokenRefused(f"the token is refused: {_reason(error)}") from None

    def _key_for(self, token: str) -> tuple[PyJWK | str, list[str]]:
        try:
            header = _header(token.partition(".")[0])
        except _MADE_OF_ANYTHING:
            raise TokenRefused("the credential is neither a key of ours nor a token") from None
        if header.asks_for_extensions:
            raise TokenRefused("the token asks for extensions that are not known here")
        if isinstance(self._keys, str):
            return self._keys, list(SECRET_ALGORITHMS)
        if header.key_id is None:
            raise TokenRefused("the token does not say which key it is signed with")
        found = self._keys.find(header.key_id)
        if found is None:
            raise TokenRefused("the token is signed with a key that its issuer does not list")
        return found, list(PUBLIC_KEY_ALGORITHMS)


class _Header(NamedTuple):
    key_id: str | None
    asks_for_extensions: bool


@lru_cache(maxsize=64)
def _header(segment: str) -> _Header:
    """The first part of a token, alone: the rest is read where the signature is. An issuer's tokens share a few."""
    header = jwt.get_unverified_header(segment + "..")
    key_id = header.get("kid")
    return _Header(key_id if isinstance(key_id, str) else None, "crit" in header or "b64" in header)


def _read(claims: dict[str, Any]) -> VerifiedToken:
    subject = claims["sub"]
    if not _SUBJECT.fullmatch(subject) or subject.startswith(SERVICE_ACCOUNT_PREFIX):
        raise TokenRefused("the token's subject cannot be a user's")
    if claims.get("role", USER_ROLE) != USER_ROLE:
        raise TokenRefused("the token is not a signed-in user's")
    metadata = claims.get("app_metadata")
    operator = metadata.get("operator_id") if isinstance(metadata, dict) else None
    if operator is not None and not (isinstance(operator, str) and _OPERATOR_ID.fullmatch(operator)):
        raise TokenRefused("the token's operator_id is not an operator's")
    session = claims.get("session_id")
    return VerifiedToken(
        subject=subject,
        operator_id=operator,
        session_id=session if isinstance(session, str) and re.fullmatch(r"[A-Za-z0-9-]{1,64}", session) else None,
        expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
    )


def _reason(error: Exception) -> str:
    """The library's own word for it. What an error quotes of the token stays out."""
    reasons = {
        jwt.InvalidAudienceError: "it is for another audience",
        jwt.InvalidIssuerError: "it is another issuer's",
        jwt.ImmatureSignatureError: "it is not valid yet",
        jwt.InvalidIssuedAtError: "its time of issue is impossible",
        jwt.InvalidSignatureError: "its signature is wrong",
        jwt.InvalidAlgorithmError: "it is signed in a way that is not accepted here",
        InvalidSubjectError: "its subject is not text",
    }
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no {error.claim}"
    return next((words for kind, words in reasons.items() if isinstance(error, kind)), "it cannot be read")
