"""What a server tells of itself to whoever has not said who they are: whether it serves, and nothing of how much."""

from __future__ import annotations

import orjson
from flask import Flask, Response, request

from tenancy.guard import caller_of
from web.http_server import HEALTH_PATH
from web.problems import MEDIA_TYPE

TOLD = ("type", "title", "status", "state", "as_of", "version")


def tell_strangers_less(app: Flask) -> None:
    """Leave out of the health page what counts or names anything, where nobody says for whom it is."""

    @app.after_request
    def _shorten(answer: Response) -> Response:
        if request.path != HEALTH_PATH or caller_of(request.environ) is not None:
            return answer
        if answer.mimetype not in {"application/json", MEDIA_TYPE}:
            return answer
        whole = orjson.loads(answer.get_data())
        answer.set_data(orjson.dumps({name: whole[name] for name in TOLD if name in whole}))
        return answer
