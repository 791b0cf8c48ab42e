"""Access tokens: what a client of OAuth gets for its key, and shows for an hour in the key's place.

A token stands for its key as the key then is: one that is revoked, or may do less, takes its tokens with it. They are
in the database, as digests, so any server on it takes another's.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from database.interface import Calls

PREFIX = "pylt_"
GOOD_FOR_S = 3600
SECRET_BYTES = 32
LONGEST_TOKEN = 100
BY_PLATFORM_KEY = "platform:"
"""Begins what a token of PYLON_API_KEY stands for; the digest of that key follows, so that another key ends it."""


class Held(BaseModel):
    """What a token stands for: a key's id or the platform's key, and until when."""

    model_config = ConfigDict(frozen=True)

    credential_id: str
    good_until: datetime


class AccessTokens:
    """Issues tokens, and tells what they stand for. Its methods raise `DatabaseError` as the database does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def issue(self, credential_id: str) -> str:
        """A new token for whoever has this credential."""
        token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        arguments = {"p_digest": digest_of(token), "p_credential_id": credential_id, "p_seconds": GOOD_FOR_S}
        self._calls.call("tenancy_issue_access_token", arguments)
        return token

    def held(self, token: str) -> Held | None:
        """What the token stands for; None of one that is none, or has run out."""
        if len(token) > LONGEST_TOKEN:
            return None
        found = self._calls.call("tenancy_access_token", {"p_digest": digest_of(token)}, repeatable=True)
        return None if found is None else Held.model_validate(found)


def digest_of(secret: str) -> str:
    """The SHA-256 of a secret, as it is kept."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
