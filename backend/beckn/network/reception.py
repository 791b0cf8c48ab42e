"""The checks that a message passes before anything is stored or done: signature, pace, form, time, sender, addressee.

The signature comes first, over the bytes as they came: what no known key signed is not parsed, and costs next to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from beckn.network.sender_limits import SenderRates
from beckn.network.subscribers import Role, Subscribers, Subscription, same_url
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.context import MessageContext, check_names, expiry_of, is_callback, read_context
from beckn.protocol.objects import Action, Subscriber
from beckn.protocol.signing import SignatureHeader, SignatureProblem, SignatureRefused, verify

AUTHORIZATION = "Authorization"
GATEWAY_AUTHORIZATION = "X-Gateway-Authorization"

Proven = TypeVar("Proven")


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
        domains: Collection[str] | None = None,
        rates: SenderRates | None = None,
    ) -> None:
        """`domains`: the only ones that are served; None where all are. `rates`: how fast a sender may be."""
        self._subscribers = subscribers
        self._own = own
        self._role = role
        self._authenticates = authenticates
        self._clock = clock
        self._domains = domains
        self._rates = rates or SenderRates()

    def check_header(self, headers: Headers) -> None:
        """Refuse a message whose header names no key that is known, before its body is read.

        Raises:
            Refused: 401.
        """
        if self._authenticates:
            self._proving(lambda: self._named(headers.get(AUTHORIZATION)))

    def check_unsigned(self, action: Action, body: bytes) -> None:
        """Refuse a message for its form, whoever sent it.

        Raises:
            Refused: 400.
        """
        check_names(body)
        read_context(body, action, now=self._clock())

    def check(self, action: Action, body: bytes, headers: Headers) -> IncomingMessage:
        """The message in `body`, sent to the endpoint of `action`.

        Raises:
            Refused: 400 where the message is at fault, 401 where its signature is, 429 where its sender is too fast.
        """
        now = self._clock()
        header = headers.get(AUTHORIZATION)
        role = Role.BPP if is_callback(action) else Role.BAP
        signer = None
        if self._authenticates:
            # The transaction that stores a message looks at its sender's key once more; a buyer stores none.
            signer = self.verified(header, body, fresh=self._role is Role.BAP)
            if (by_gateway := headers.get(GATEWAY_AUTHORIZATION)) is not None:
                self._check_gateway(by_gateway, body)
        context = read_context(body, action, now=now)
        sender = context.bpp_id if is_callback(action) else context.bap_id
        if sender is None:  # for the type checker: a callback's context has it
            raise Refused.invalid("context.bpp_id: Field required", "context.bpp_id")
        if signer is None:
            self._rates.take(sender, len(body))
        else:
            self._proving(lambda: _check_signer(signer, sender, role))
        self._check_addressee(context, action)
        key_id = None if signer is None else signer.key_id
        self._check_uri(context, sender, role, key_id, now)
        return IncomingMessage(action, context, body, sender, key_id, header if self._authenticates else None)

    def verified(self, header: str | None, body: bytes, *, fresh: bool = True) -> Subscription:
        """The subscription whose key signed `body`, whatever its role.

        Args:
            fresh: whether the key is looked up anew, for it may have been revoked a moment ago.

        Raises:
            Refused: 401, for the reason that its message gives; 429, its messages come too fast.
        """
        signer = self._proving(lambda: self._signer(header, body, fresh=fresh))
        self._rates.take(signer.subscriber_id, len(body))
        return signer

    def _proving(self, proof: Callable[[], Proven]) -> Proven:
        try:
            return proof()
        except SignatureRefused as refused:
            raise Refused.unauthorized(str(refused), self._own.subscriber_id) from None

    def _check_gateway(self, header: str, body: bytes) -> None:
        try:
            signer = self._signer(header, body, fresh=True)
            _check_role(signer, Role.BG)
        except SignatureRefused as refused:
            message = f"{GATEWAY_AUTHORIZATION}: {refused}"
            raise Refused.unauthorized(message, self._own.subscriber_id, by_gateway=True) from None

    def _signer(self, header: str | None, body: bytes, *, fresh: bool) -> Subscription:
        signature, found = self._named(header)
        now = self._clock()
        verify(signature, body, public_key=found.signing_public_key, now=now)
        if fresh:  # only now, for it is asked of the database
            found = self._subscribers.find(found.subscriber_id, found.key_id, fresh=True) or found
        if not found.holds(now):
            raise SignatureRefused(
                SignatureProblem.REVOKED,
                f"the key {signature.key_id} of {signature.subscriber_id} was revoked, or is not valid at this time",
            )
        return found

    def _named(self, header: str | None) -> tuple[SignatureHeader, Subscription]:
        """A signature header, and the subscription with the key that it names."""
        if not header:
            raise SignatureRefused(
                SignatureProblem.MISSING, "the message must be signed, but it has no signature header"
            )
        signature = SignatureHeader.parse(header)
        found = self._subscribers.known(signature.subscriber_id, signature.key_id)
        if found is None:
            raise SignatureRefused(
                SignatureProblem.UNKNOWN_KEY,
                f"no key {signature.key_id} is registered for {signature.subscriber_id}",
            )
        return signature, found

    def _check_addressee(self, context: MessageContext, action: Action) -> None:
        # A search of another trade is answered: there is nothing of the kind here.
        if self._domains is not None and context.domain not in self._domains and action is not Action.SEARCH:
            served = " and ".join(self._domains)
            raise Refused.invalid(f"context.domain: only {served} is served here", "context.domain")
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


def _check_signer(signer: Subscription, sender: str, role: Role) -> None:
    if signer.subscriber_id != sender:
        raise SignatureRefused(SignatureProblem.WRONG_SIGNER, f"{signer.subscriber_id} signed a message of {sender}")
    _check_role(signer, role)


def _check_role(signer: Subscription, role: Role) -> None:
    if signer.type is not role:
        raise SignatureRefused(
            SignatureProblem.UNKNOWN_KEY,
            f"no key {signer.key_id} is registered for {signer.subscriber_id} as {role}",
        )
