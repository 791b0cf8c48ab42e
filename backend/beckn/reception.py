"""The checks that a message passes before anything is stored or done: form, time, sender, signature, addressee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from beckn.answers import Refused
from beckn.context_rules import MessageContext, expiry_of, is_callback, read_context
from beckn.messages import Action, Subscriber
from beckn.signing import SignatureHeader, SignatureProblem, SignatureRefused, verify
from beckn.subscribers import Role, Subscribers, Subscription, same_url

AUTHORIZATION = "Authorization"
GATEWAY_AUTHORIZATION = "X-Gateway-Authorization"


class Headers(Protocol):
    """A request's headers, by any case of their names."""

    def get(self, name: str, /) -> str | None: ...


@dataclass(frozen=True)
class IncomingMessage:
    """A message that may be stored. The body's bytes are those that arrived, and are UTF-8."""

    action: Action
    context: MessageContext
    body: bytes
    sender: str
    key_id: str | None
    """The key it was signed with; None where signatures are off."""
    authorization: str | None
    """The sender's signature header, for a gateway to pass on."""

    @property
    def expires_at(self) -> datetime:
        """Until when it holds."""
        return expiry_of(self.context)


class Reception:
    """Checks what comes to one platform.

    The sender of a request is its `bap_id`, that of a callback its `bpp_id`: it must have signed, with a key that
    holds, in that role, and name the URL that is registered for it. A provider takes only what is addressed to it,
    and so does a buyer; a gateway takes what is for others. Where a gateway's signature comes along it must hold as
    well.
    """

    def __init__(
        self,
        subscribers: Subscribers,
        *,
        own: Subscriber,
        role: Role,
        authenticates: bool,
        clock: Callable[[], datetime],
        domain: str | None = None,
    ) -> None:
        """`domain`: the only one that is served; None where all are."""
        self._subscribers = subscribers
        self._own = own
        self._role = role
        self._authenticates = authenticates
        self._clock = clock
        self._domain = domain

    def check(self, action: Action, body: bytes, headers: Headers) -> IncomingMessage:
        """The message in `body`, sent to the endpoint of `action`.

        Raises:
            Refused: 400 where the message is at fault, 401 where its signature is.
        """
        now = self._clock()
        context = read_context(body, action, now=now)
        self._check_addressee(context, action)
        header = headers.get(AUTHORIZATION)
        sender, role = (context.bpp_id, Role.BPP) if is_callback(action) else (context.bap_id, Role.BAP)
        if sender is None:  # for the type checker: a callback's context has it
            raise Refused.invalid("context.bpp_id: Field required", "context.bpp_id")
        key_id = None
        if self._authenticates:
            key_id = self.verified(header, body, role=role, sender=sender).key_id
            if (by_gateway := headers.get(GATEWAY_AUTHORIZATION)) is not None:
                self._check_gateway(by_gateway, body)
        self._check_uri(context, sender, role, key_id, now)
        return IncomingMessage(action, context, body, sender, key_id, header if self._authenticates else None)

    def verified(
        self, header: str | None, body: bytes, *, role: Role | None = None, sender: str | None = None
    ) -> Subscription:
        """The subscription whose key signed `body`, in any role or from any sender where those are not given.

        Raises:
            Refused: 401, for the reason that its message gives.
        """
        try:
            return self._subscription(header, body, role, sender)
        except SignatureRefused as refused:
            raise Refused.unauthorized(str(refused), self._own.subscriber_id) from None

    def _check_gateway(self, header: str, body: bytes) -> None:
        try:
            self._subscription(header, body, Role.BG, None)
        except SignatureRefused as refused:
            message = f"{GATEWAY_AUTHORIZATION}: {refused}"
            raise Refused.unauthorized(message, self._own.subscriber_id, by_gateway=True) from None

    def _subscription(self, header: str | None, body: bytes, role: Role | None, sender: str | None) -> Subscription:
        if not header:
            raise SignatureRefused(
                SignatureProblem.MISSING, "the message must be signed, and has no signature header"
            )
        signature = SignatureHeader.parse(header)
        if sender is not None and signature.subscriber_id != sender:
            raise SignatureRefused(
                SignatureProblem.WRONG_SIGNER, f"{signature.subscriber_id} signed a message of {sender}"
            )
        # The transaction that stores a message looks at its sender's key once more; nothing does at others, and a
        # buyer stores none.
        fresh = sender is None or self._role is Role.BAP
        found = self._subscribers.find(signature.subscriber_id, signature.key_id, fresh=fresh)
        if found is None or (role is not None and found.type is not role):
            raise SignatureRefused(
                SignatureProblem.UNKNOWN_KEY,
                f"no key {signature.key_id} is registered for {signature.subscriber_id}"
                + (f" as {role}" if role else ""),
            )
        now = self._clock()
        if not found.holds(now):
            raise SignatureRefused(
                SignatureProblem.REVOKED,
                f"the key {signature.key_id} of {signature.subscriber_id} was revoked, or does not hold at this time",
            )
        verify(signature, body, public_key=found.signing_public_key, now=now)
        return found

    def _check_addressee(self, context: MessageContext, action: Action) -> None:
        # A search of another trade is answered: there is nothing of the kind here.
        if self._domain is not None and context.domain != self._domain and action is not Action.SEARCH:
            raise Refused.invalid(f"context.domain: only {self._domain} is served here", "context.domain")
        own = self._own.subscriber_id
        if self._role is Role.BPP and context.bpp_id not in {None, own}:
            raise Refused.invalid(f"context.bpp_id: this is {own}", "context.bpp_id")
        if self._role is Role.BAP and context.bap_id != own:
            raise Refused.invalid(f"context.bap_id: this is {own}", "context.bap_id")

    def _check_uri(self, context: MessageContext, sender: str, role: Role, key_id: str | None, now: datetime) -> None:
        name, uri = ("bpp", context.bpp_uri) if role is Role.BPP else ("bap", context.bap_uri)
        for fresh in (False, True):  # a URL may have changed since it was remembered
            if key_id is None:
                registered = self._subscribers.current(sender, role, now)
            else:
                registered = self._subscribers.find(sender, key_id, fresh=fresh)
            if registered is not None and uri is not None and same_url(uri, registered.url):
                return
        if registered is None:
            raise Refused.invalid(f"context.{name}_id: {sender} is not registered as {role}", f"context.{name}_id")
        raise Refused.invalid(
            f"context.{name}_uri is not the URL that is registered for {sender}: nothing is sent to any other",
            f"context.{name}_uri",
        )
