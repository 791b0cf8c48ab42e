"""Acknowledgements as HTTP responses."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Response

from beckn.protocol.acknowledgement import AckAnswer, Refused

log = logging.getLogger(__name__)


def answered(work: Callable[[], AckAnswer]) -> Response:
    """The response of an endpoint whose work ends with an answer or with `Refused`."""
    try:
        return Response(work().model_dump_json(), 200, mimetype="application/json")
    except Refused as refused:
        return refusal(refused)


def refusal(refused: Refused) -> Response:
    """The response that refuses: a NACK, with its status and headers."""
    log.info("refused with %d: %s", refused.status, refused)
    response = Response(refused.answer.model_dump_json(), refused.status, mimetype="application/json")
    response.headers.update(refused.headers)
    return response
