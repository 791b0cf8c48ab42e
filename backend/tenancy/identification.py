"""From the header `Authorization` to who is calling.

A credential is our own key (`pyl_…`), an access token for it (`pylt_…`), the platform's PYLON_API_KEY, or an issuer's
token; nothing else, and nowhere else than in that header. The operator comes from the key's row, or is chosen among
the memberships that the database has of a user: a header or a claim only chooses.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tenancy.access_tokens import BY_PLATFORM_KEY, AccessTokens, Held, digest_of
from tenancy.access_tokens import PREFIX as TOKEN_PREFIX
from tenancy.keys import PREFIX, Key, NotAKey, read_key
from tenancy.principals import PLATFORM_CREDENTIAL, PLATFORM_OPERATOR, Principal, platform_administrator
from tenancy.records import AccessRecords, Membership, StoredKey
from tenancy.remembered import Remembered
from tenancy.scopes import ROLE_SCOPES, Role
from tenancy.tokens import SERVICE_ACCOUNT_PREFIX, TokenRefused, Tokens

MOST_OPERATORS_TOLD = 20


class NotIdentified(Exception):
    """The credential proves nothing (401); the message says why. `credential_id` names it where it is known."""

    def __init__(self, message: str, credential_id: str | None = None) -> None:
        super().__init__(message)
        self.credential_id = credential_id


class NoMember(Exception):
    """Somebody known, who is not a member of the operator that is asked for (403)."""

    def __init__(self, message: str, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class PlatformKey:
    """PYLON_API_KEY."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()
        self.token_holder = BY_PLATFORM_KEY + digest_of(text)
        """What its access tokens stand for."""

    def is_what_they_have(self, credential: str) -> bool:
        """Whether it is, in a time that tells nothing. WSGI hands over a header's bytes as Latin-1."""
        return hmac.compare_digest(credential.encode("latin-1", "replace"), self._bytes)


class Identification:
    """Tells callers apart by our own keys and, where there is an issuer, by its tokens. For many threads."""

    def __init__(
        self,
        records: AccessRecords,
        clock: Callable[[], datetime],
        *,
        platform_key: PlatformKey | None,
        tokens: Tokens | None,
        takes_keys: bool,
        access_tokens: AccessTokens | None = None,
        used: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`used` is told the id of each key that was good."""
        self._records = records
        self._clock = clock
        self._platform_key = platform_key
        self._tokens = tokens
        self._takes_keys = takes_keys
        self._access_tokens = access_tokens
        self._used = used
        self._keys: Remembered[bytes, Principal] = Remembered()
        self._held: Remembered[str, Principal] = Remembered()
        self._memberships: Remembered[str, tuple[Membership, ...]] = Remembered()

    def forget(self) -> None:
        """Read keys and memberships anew: something about them has changed."""
        self._keys.forget()
        self._held.forget()
        self._memberships.forget()

    def principal(self, credential: str, operator: str | None) -> Principal:
        """Who a bearer is.

        Args:
            operator: the one that the request names, if it names one.

        Raises:
            NotIdentified: nobody.
            NoMember: somebody, but not for that operator.
            KeysNotRead: the issuer's keys are not known yet.
            DatabaseError: the database does not answer.
        """
        if self._platform_key is not None and self._platform_key.is_what_they_have(credential):
            return platform_administrator(operator or PLATFORM_OPERATOR)
        if self._takes_keys and credential.startswith(PREFIX):
            return self._of_key(credential, operator)
        if self._access_tokens is not None and credential.startswith(TOKEN_PREFIX):
            return self._of_access_token(self._access_tokens, credential, operator)
        if self._tokens is None:
            raise NotIdentified("this kind of credential is not accepted here")
        return self._of_token(self._tokens, credential, operator)

    def _of_key(self, credential: str, operator: str | None) -> Principal:
        try:
            key = read_key(credential)
        except NotAKey as error:
            raise NotIdentified(str(error)) from None
        found = self._keys.answer(key.digest, lambda: self._read_key(key))
        if found.expires_at is not None and found.expires_at <= self._clock():
            raise NotIdentified("the key has expired", key.key_id)
        self._used(key.key_id)
        return self._acting(found, operator)

    def _of_access_token(self, tokens: AccessTokens, credential: str, operator: str | None) -> Principal:
        found = self._held.answer(digest_of(credential), lambda: self._holder(tokens.held(credential)))
        if found.expires_at is not None and found.expires_at <= self._clock():
            raise NotIdentified("the access token has run out: ask for another", found.credential_id)
        return self._acting(found, operator)

    def _holder(self, held: Held | None) -> Principal:
        if held is None:
            raise NotIdentified("the access token has run out, or is none: ask for another")
        if held.credential_id.startswith(BY_PLATFORM_KEY):
            if self._platform_key is None or held.credential_id != self._platform_key.token_holder:
                raise NotIdentified("the access token is for another PYLON_API_KEY: ask for another")
            return replace(platform_administrator(), expires_at=held.good_until)
        stored = self._records.key(held.credential_id) if self._takes_keys else None
        if stored is None or not stored.usable or stored.role is None:
            raise NotIdentified("the key of this access token has expired or was revoked", held.credential_id)
        found = _principal_of(stored, stored.role)
        return replace(found, expires_at=min(held.good_until, stored.expires_at))

    def access_token(self, principal: Principal) -> str:
        """A token for whoever has shown a key, good for an hour at most.

        Raises:
            NotIdentified: it has shown none that tokens are given for.
            DatabaseError: the database does not answer.
        """
        credential_id = principal.credential_id
        if self._platform_key is not None and credential_id == PLATFORM_CREDENTIAL:
            credential_id = self._platform_key.token_holder
        elif not principal.subject.startswith(SERVICE_ACCOUNT_PREFIX):
            credential_id = None
        if credential_id is None or self._access_tokens is None:
            raise NotIdentified("access tokens are given for keys alone")
        return self._access_tokens.issue(credential_id)

    def _acting(self, found: Principal, operator: str | None) -> Principal:
        if operator is not None and operator != found.operator:
            return _acting_for(found, operator)
        return found

    def _read_key(self, key: Key) -> Principal:
        stored = self._records.key(key.key_id)
        # One answer for all: which ids there are is nobody's business.
        if stored is None or not key.is_the_one_of(bytes.fromhex(stored.digest)):
            raise NotIdentified("there is no such key")
        if not stored.usable or stored.role is None:
            raise NotIdentified("the key has expired or was revoked", key.key_id)
        return _principal_of(stored, stored.role)

    def _of_token(self, tokens: Tokens, credential: str, operator: str | None) -> Principal:
        try:
            token = tokens.verified(credential)
        except TokenRefused as error:
            raise NotIdentified(str(error)) from None
        subject = token.subject
        memberships = self._memberships.answer(subject, lambda: self._records.memberships(subject))
        platform = _role_in(memberships, PLATFORM_OPERATOR)
        if platform is Role.ADMIN and operator is not None and _role_in(memberships, operator) is None:
            membership = Membership(operator_id=operator, role=Role.PLATFORM)
        else:
            membership = _chosen(memberships, operator or token.operator_id, subject)
        role = _role(membership)
        return Principal(membership.operator_id, subject, role, ROLE_SCOPES[role], token.session_id, token.expires_at)


def _principal_of(stored: StoredKey, stored_role: Role) -> Principal:
    role = _role(Membership(operator_id=stored.operator_id, role=stored_role))
    scopes = stored.known_scopes() & ROLE_SCOPES[role]
    return Principal(stored.operator_id, stored.user_id, role, scopes, stored.key_id, stored.expires_at)


def _acting_for(principal: Principal, operator: str) -> Principal:
    if not principal.is_platform:
        raise NoMember(f"this key is not for the operator {operator}", principal.subject)
    return Principal(
        operator,
        principal.subject,
        principal.role,
        principal.scopes,
        principal.credential_id,
        principal.expires_at,
    )


def _chosen(memberships: tuple[Membership, ...], operator: str | None, subject: str) -> Membership:
    if operator is None:
        if len(memberships) == 1:
            return memberships[0]
        if not memberships:
            raise NoMember("you are not a member of any operator: an operator's administrator can add you", subject)
        names = ", ".join(each.operator_id for each in memberships[:MOST_OPERATORS_TOLD])
        raise NoMember(f"say which operator you are acting for in the header Pylon-Operator: one of {names}", subject)
    found = next((each for each in memberships if each.operator_id == operator), None)
    if found is None:
        raise NoMember(f"you are not a member of the operator {operator}", subject)
    return found


def _role_in(memberships: tuple[Membership, ...], operator: str) -> Role | None:
    return next((each.role for each in memberships if each.operator_id == operator), None)


def _role(membership: Membership) -> Role:
    """The administrators of the operator `platform` are the platform's."""
    if membership.operator_id == PLATFORM_OPERATOR and membership.role is Role.ADMIN:
        return Role.PLATFORM
    return membership.role
