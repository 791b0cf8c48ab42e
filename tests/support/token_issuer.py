"""An issuer of tokens: keys, tokens signed with them, and the key set on loopback, with rotation and revocation."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask, Response, jsonify
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from served import served

ISSUER = "https://issuer.example/auth/v1"
AUDIENCE = "authenticated"
SUBJECT = "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class SigningKey:
    """A private key and how it is listed."""

    kid: str
    algorithm: str
    private: PrivateKey

    def listed(self, **changes: Any) -> dict[str, Any]:
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            key = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            key = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**key, "kid": self.kid, "alg": self.algorithm, "use": "sig", **changes}


def es256_key(kid: str = "es-1") -> SigningKey:
    return SigningKey(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


def rs256_key(kid: str = "rs-1", bits: int = 2048) -> SigningKey:
    return SigningKey(kid, "RS256", rsa.generate_private_key(public_exponent=65537, key_size=bits))


def claims(**changes: Any) -> dict[str, Any]:
    """A user's claims; a change to None leaves one out."""
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,
        "session_id": "5b1a6a52-6d3f-4f0e-9d6d-6b8a4a4f3f10",
        "app_metadata": {"operator_id": "op-a"},
        "user_metadata": {"operator_id": "op-of-my-own-choice"},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(key: SigningKey, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token of these claims, signed with the key."""
    return jwt.encode(claims(**changes), key.private, key.algorithm, headers={"kid": key.kid, **(headers or {})})


@dataclass
class Issuer:
    """What a key set on loopback answers, and how often it was asked."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    asked: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def lists(self, *keys: SigningKey) -> None:
        self.keys = [key.listed() for key in keys]

    def wait_until_asked(self, times: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked >= times, 60)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer's key set, served until the end of the block."""
    issuer = Issuer()
    app = Flask("issuer")

    @app.route("/.well-known/jwks.json")
    def _keys() -> Response:
        with issuer.changed:
            issuer.asked += 1
            issuer.changed.notify_all()
        if issuer.body is not None:
            return Response(issuer.body, issuer.status)
        answer = jsonify(keys=issuer.keys)
        answer.status_code = issuer.status
        return answer

    with served(app) as client:
        issuer.url = f"{client.url}/.well-known/jwks.json"
        yield issuer
