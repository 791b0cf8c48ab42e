"""What a server tells of itself to whoever does not look after it: whether it serves, and nothing of how much."""

from __future__ import annotations

import orjson
from flask import Flask, Response, request

from tenancy.guard import caller_of
from tenancy.scopes import Scope
from web.http_server import HEALTH_PATH
from web.problems import MEDIA_TYPE

TOLD = ("type", "title", "status", "state", "as_of", "version")


def tell_strangers_less(app: Flask) -> None:
    """Leave out of the health page what counts or names anything, but for those who may read it of the platform.

    An operator's own people are strangers here: the page counts everybody's work.
    """

    @app.after_request
    def _shorten(answer: Response) -> Response:
        principal = caller_of(request.environ)
        if request.path != HEALTH_PATH or (principal is not None and Scope.PLATFORM_READ in principal.scopes):
            return answer
        if answer.mimetype not in {"application/json", MEDIA_TYPE}:
            return answer
        whole = orjson.loads(answer.get_data())
        answer.set_data(orjson.dumps({name: whole[name] for name in TOLD if name in whole}))
        return answer
