"""The body of a message as it arrives: its very bytes, for those are signed, up to a length."""

from __future__ import annotations

from contextlib import suppress

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from beckn.network.reception import AUTHORIZATION, Reception
from beckn.protocol.acknowledgement import Error, ErrorCode, Refused
from beckn.protocol.objects import Action

LONGEST_BYTES = 1024 * 1024

LONGEST_CATALOGUE_BYTES = 4 * 1024 * 1024
"""Of an `on_search`: about fifteen hundred items with all their tags."""

LONGEST_UNSIGNED_BYTES = 64 * 1024
"""Of a message without a signature that is looked at all the same."""

_DRAINED_AT_ONCE = 64 * 1024


def signed_body(reception: Reception, action: Action | None = None) -> bytes:
    """The body of a message whose header names a key that is known; that of any other is not kept.

    Whoever does not sign at all is first told what else is wrong with a short message: so others try theirs out.

    Raises:
        Refused: 401, the header names none; 400, there is no header, and the message is faulty or long; 413, as
            `message_body` does.
    """
    try:
        reception.check_header(request.headers)
    except Refused:
        if AUTHORIZATION not in request.headers and action is not None:
            _refuse_faulty(reception, action)
        _drain(_longest(action))
        raise
    return message_body(action)


def _refuse_faulty(reception: Reception, action: Action) -> None:
    if request.content_length is None or request.content_length > LONGEST_UNSIGNED_BYTES:
        _drain(_longest(action))
        raise Refused.invalid(
            f"a message of more than {LONGEST_UNSIGNED_BYTES:,} bytes is read only when it is signed"
        )
    reception.check_unsigned(action, request.get_data())


def message_body(action: Action | None = None) -> bytes:
    """The body of the request that is being answered, a message to the endpoint of `action`.

    Raises:
        Refused: 413, it is longer than a message may be.
    """
    longest = _longest(action)
    request.max_content_length = longest
    too_long = Error(code=ErrorCode.INVALID_REQUEST, message=f"the message is longer than {longest:,} bytes")
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        raise Refused(413, too_long) from None
    if request.content_length is None and len(body) == longest:
        raise Refused(413, too_long)  # sent in chunks, and cut at the limit
    return body


def _longest(action: Action | None) -> int:
    return LONGEST_CATALOGUE_BYTES if action is Action.ON_SEARCH else LONGEST_BYTES


def _drain(longest: int) -> None:
    # Whoever is still sending would not read the answer.
    request.max_content_length = longest
    with suppress(RequestEntityTooLarge):
        while request.stream.read(_DRAINED_AT_ONCE):
            pass
