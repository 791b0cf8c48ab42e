"""The names of what can go wrong with a call."""

from __future__ import annotations


class CallFailed(Exception):
    """There was no answer; the message says why. Another attempt may have one.

    `cause` is the plainest of the errors behind it, where there is one.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class CallTimedOut(CallFailed):
    """The call's time was over, or nothing came for as long as the other side may be silent."""


class NoConnection(CallFailed):
    """There was no connection, it broke, or what came over it was no HTTP."""


class AnswerTooLong(CallFailed):
    """The answer, unpacked, is longer than it may be; asking again would not help."""


class AddressRefused(CallFailed):
    """The URL leads where it may not, or nowhere; nothing was sent."""


class CallImpossible(CallFailed):
    """No call can be made: a proxy or certificates of this machine's settings cannot be used, say."""
