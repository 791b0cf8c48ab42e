"""Tokens that prove nothing, each in its own way: every server answers each of them 401."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from token_issuer import SigningKey, claims, es256_key, rs256_key, token


def bad_tokens(known: SigningKey, other_known: SigningKey) -> dict[str, str]:
    """By what is wrong with them. The issuer lists `known` (ES256) and `other_known` (RS256)."""
    now = int(time.time())
    header = {"alg": known.algorithm, "kid": known.kid}
    public = other_known.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    good = token(known)
    first, body, signature = good.split(".")
    forged = _part({**claims(), "sub": "somebody-else"})
    return {
        "alg none": f"{_part({**header, 'alg': 'none'})}.{body}.",
        "alg None": f"{_part({**header, 'alg': 'None'})}.{_part(claims())}.",
        "no alg": f"{_part({'kid': known.kid})}.{body}.{signature}",
        "HS256 with the RSA key": _hs256({"alg": "HS256", "kid": other_known.kid}, claims(), public),
        "HS256 with no key": _hs256({"alg": "HS256", "kid": known.kid}, claims(), b""),
        "a foreign key under a known kid": token(es256_key(known.kid)),
        "a foreign RSA key under a known kid": token(rs256_key(other_known.kid)),
        "an RSA signature under an EC kid": token(SigningKey(known.kid, "RS256", other_known.private)),
        "an unknown kid": token(es256_key("never-listed")),
        "no kid": jwt.encode(claims(), known.private, known.algorithm),
        "its own key in the header": token(es256_key("mine"), {"jwk": es256_key("mine").listed()}),
        "its own key set in the header": token(es256_key("mine"), {"jku": "https://evil.example/jwks.json"}),
        "another audience": token(known, aud="anon"),
        "no audience": token(known, aud=None),
        "another issuer": token(known, iss="https://evil.example/auth/v1"),
        "an issuer with a slash more": token(known, iss=claims()["iss"] + "/"),
        "no issuer": token(known, iss=None),
        "expired": token(known, exp=now - 60),
        "no exp": token(known, exp=None),
        "an exp that is no number": token(known, exp="never"),
        "an endless exp": _signed(known, '"exp":Infinity'),
        "an exp beyond all calendars": token(known, exp=10**15),
        "nbf in the future": token(known, nbf=now + 3600),
        "iat in the future": token(known, iat=now + 3600),
        "a numeric sub": token_of_raw(known, {**claims(), "sub": 7}),
        "no sub": token(known, sub=None),
        "an empty sub": token(known, sub=""),
        "a sub with a line break": token(known, sub="a\nb"),
        "a service account's sub": token(known, sub="svc:0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"),
        "the service role": token(known, role="service_role"),
        "the anonymous role": token(known, role="anon"),
        "an operator that is no text": token(known, app_metadata={"operator_id": ["op-a"]}),
        "crit": token(known, {"crit": ["exp"]}),
        "crit of an extension": token(known, {"crit": ["x"], "x": 1}),
        "b64 false": f"{_part({**header, 'b64': False})}.{body}.{signature}",
        "other claims under the signature": f"{first}.{forged}.{signature}",
        "no signature": f"{first}.{body}.",
        "cut": good[:-1],
        "a part more": good + ".x",
        "two parts": f"{first}.{body}",
        "too long": token(known, padding="x" * 9000),
        "deeply nested": f"{_b64(b'[' * 5000)}.{body}.{signature}",
        "not JSON": f"{_b64(b'hello')}.{body}.{signature}",
        "a header that is a list": f"{_part([])}.{body}.{signature}",
        "a kid that is no text": f"{_part({**header, 'kid': 7})}.{body}.{signature}",
        "nonsense": "nonsense",
        "dots": "..",
        "not ASCII": "é.é.é",
    }


def token_of_raw(key: SigningKey, document: dict[str, Any]) -> str:
    """A token of claims that the library itself would not sign."""
    return _signed_text(key, json.dumps(document))


def _signed(key: SigningKey, replacement: str) -> str:
    whole = claims()
    return _signed_text(key, json.dumps(whole).replace(f'"exp": {whole["exp"]}', replacement))


def _signed_text(key: SigningKey, text: str) -> str:
    return jwt.PyJWS().encode(text.encode(), key.private, key.algorithm, headers={"kid": key.kid})


def _hs256(header: dict[str, Any], document: dict[str, Any], secret: bytes) -> str:
    signed = f"{_part(header)}.{_part(document)}"
    return f"{signed}.{_b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _part(document: Any) -> str:
    return _b64(json.dumps(document).encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
