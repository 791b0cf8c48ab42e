"""Makes a Flask application that validates with pydantic and describes itself in OpenAPI."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from importlib.resources import files
from threading import Lock
from typing import Any

import orjson
from flask import Response, current_app, render_template_string, request, send_from_directory
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel
from werkzeug.exceptions import UnsupportedMediaType

from web.api_blueprint import DescribedApplication, Pause
from web.compression import compress_answers
from web.own_names import OwnNames
from web.page_headers import keep_pages_to_themselves
from web.problems import MEDIA_TYPE, Problem, ProblemDocument, StrictRequest, answer_problems, invalid, is_json
from web.request_ids import RequestIds

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
SECURITY_SCHEMES: dict[str, Any] = {"apiKey": {"type": "http", "scheme": "bearer"}}
AsksFor = Callable[[str], str | None]
"""Of an endpoint, as "METHOD /path": the scope that a credential needs there, or None where it asks for none."""

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SWAGGER_FILES = files("flask_openapi3_swagger") / "templates" / "swagger"

_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/css/swagger-ui.css">
<link rel="stylesheet" href="docs/page.css">
</head>
<body>
<main id="swagger"></main>
<script src="docs/js/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</body>
</html>"""

# With deep links each operation's button would hold a link, which no keyboard reaches.
_DOCS_SCRIPT = """SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger", deepLinking: false, validatorUrl: null})
"""

# The library's greys and badges are too pale to be read by everybody: ink on white, and white on dark.
_DOCS_STYLE = """:root { color-scheme: light; }
body { margin: 0; background: #fff; }
.swagger-ui, .swagger-ui :is(*, .info *, .opblock *, table *, .markdown *) { color: #1b1b1b; opacity: 1; }
.swagger-ui :is(a, a.link, .info a, .markdown a, .info .link, .info .link .url) { color: #0a4b8f; }
.swagger-ui .info .title small, .swagger-ui .info .title small pre,
.swagger-ui .opblock .opblock-summary-method, .swagger-ui .highlight-code *, .swagger-ui .microlight *,
.swagger-ui .btn.execute { color: #fff; }
.swagger-ui .info .title small, .swagger-ui .info .title small.version-stamp { background: #333; }
.swagger-ui .opblock .opblock-summary-method, .swagger-ui .opblock.opblock-get .opblock-summary-method
{ background: #1f4e79; text-shadow: none; }
.swagger-ui .opblock.opblock-post .opblock-summary-method { background: #1d6b34; }
.swagger-ui .opblock.opblock-put .opblock-summary-method { background: #7a4a00; }
.swagger-ui .opblock.opblock-delete .opblock-summary-method { background: #8f1d1d; }
.swagger-ui .btn.execute { background: #1f4e79; }
.swagger-ui .opblock { overflow-x: auto; }
.swagger-ui :is(.highlight-code, .microlight), .swagger-ui :is(.highlight-code, .microlight) *
{ background: #1b1b1b !important; }
.swagger-ui .markdown code, .swagger-ui .renderedMarkdown code { color: #1b1b1b; background: #f2f2f2; }
.swagger-ui :is(button, a, input, select):focus-visible { outline: 3px solid #0a4b8f; outline-offset: 2px; }
"""


def make_application(
    title: str,
    description: str,
    version: str,
    *,
    asks_for: AsksFor | None = None,
    open_endpoints: Collection[str] = (),
    own_names: Collection[str] = (),
    allowed_origins: Collection[str] = (),
    form_endpoints: Collection[str] = (),
    bodiless_deletes_under: tuple[str, ...] = (),
    invalid_is_400_under: tuple[str, ...] = (),
    pause: Pause | None = None,
) -> OpenAPI:
    """An application with problem answers, `/openapi.json` and `/docs`.

    Args:
        asks_for: what a guard before the application asks for, for its description; None where there is none.
        open_endpoints: names of endpoints whose POSTs carry their own proof, and may leave the media type out.
        own_names: hosts, or URLs with them, as which it answers beside this machine's own; with a guard, as any.
        allowed_origins: of pages that may change things, besides its own.
        form_endpoints: names of endpoints that take a form as a browser sends it.
        bodiless_deletes_under: paths below which a DELETE need not name a media type.
        invalid_is_400_under: paths below which what is invalid is answered with 400, as a protocol there wants it.
        pause: gives other requests a turn in the middle of long work, where all are answered in one thread.
    """
    app = DescribedApplication(
        "pylon",
        info=Info(title=title, description=description, version=version),
        security_schemes=SECURITY_SCHEMES,
        validation_error_callback=invalid,
        validation_error_model=ProblemDocument,
        doc_ui=False,
        static_folder=None,
    )
    app.request_class = StrictRequest
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    app.wsgi_app = RequestIds(app.wsgi_app)  # type: ignore[method-assign]
    answer_problems(app)
    keep_pages_to_themselves(app)
    compress_answers(app, pause)
    _describe(app, title, asks_for, pause or (lambda: None), invalid_is_400_under)
    names = OwnNames(own_names)
    if asks_for is None:
        _answer_as(app, names)
    _take_from_pages(app, names, frozenset(allowed_origins), as_any=asks_for is not None)
    _take_json_only(app, frozenset(open_endpoints), frozenset(form_endpoints), bodiless_deletes_under)
    _answer_400(app, invalid_is_400_under)
    return app


def problem_answer(description: str) -> dict[str, Any]:
    """A problem among an endpoint's `responses`, for the description."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


def endpoint_list() -> list[str]:
    """The running application's endpoints, as "METHOD /path", sorted."""
    return sorted(
        {
            f"{method} {rule.rule}"
            for rule in current_app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            if not rule.rule.startswith(("/docs/", "/dashboard/"))
        }
    )


def answer(document: Any, status: int = 200) -> Response:
    """A JSON answer; pydantic models and plain values may be mixed in `document`."""
    return Response(json_of(document), status, mimetype="application/json")


def json_of(document: Any) -> bytes:
    """The document as JSON, as `answer` writes it."""
    return orjson.dumps(document, default=_written_by_itself, option=orjson.OPT_UTC_Z)


def _written_by_itself(value: object) -> orjson.Fragment:
    # Half the time of pydantic's own way, which asks of every value in an untyped document what it is.
    if isinstance(value, BaseModel):
        return orjson.Fragment(value.__pydantic_serializer__.to_json(value))
    raise TypeError(f"{type(value).__name__} cannot be part of an answer")


def _answer_400(app: OpenAPI, under: tuple[str, ...]) -> None:
    """What is 422 elsewhere is 400 there."""

    @app.after_request
    def _as_400(answered: Response) -> Response:
        if answered.status_code == 422 and request.path.startswith(under):
            answered.set_data(json_of({**answered.get_json(), "title": "Bad Request", "status": 400}))
            answered.status_code = 400
        return answered


def _answer_as(app: OpenAPI, own_names: OwnNames) -> None:

    @app.before_request
    def _check_names() -> None:
        host = request.environ.get("HTTP_HOST")
        if host is not None and not own_names.includes_host(host):
            raise Problem(
                421,
                f"without PYLON_API_KEY this server answers only to names of this machine, not to {host}",
            )


def _take_from_pages(app: OpenAPI, own_names: OwnNames, allowed: frozenset[str], *, as_any: bool) -> None:
    """Refuse changes that pages of others ask for; `as_any`: whatever name it is called by is its own."""

    @app.before_request
    def _check_origin() -> None:
        origin = request.headers.get("Origin")
        if origin is None or request.method in _SAFE_METHODS or origin.lower() in allowed:
            return
        if own_names.includes_origin(origin) or (as_any and _is_same_site(origin, request.environ.get("HTTP_HOST"))):
            return
        raise Problem(403, f"pages from {origin} may not change anything here: ALLOWED_ORIGINS says which may")


def _is_same_site(origin: str, host: str | None) -> bool:
    return host is not None and origin.lower() in {f"https://{host.lower()}", f"http://{host.lower()}"}


def _take_json_only(
    app: OpenAPI,
    open_endpoints: frozenset[str],
    form_endpoints: frozenset[str],
    bodiless_deletes_under: tuple[str, ...],
) -> None:
    """Refuse changes that a page of another site could ask a browser for without its asking first."""

    @app.before_request
    def _check_content_type() -> None:
        if request.method in _SAFE_METHODS or request.url_rule is None or is_json(request.mimetype):
            return
        if request.method == "DELETE" and not request.mimetype and request.path.startswith(bodiless_deletes_under):
            return  # the protocol has none, and a browser asks first before it sends one to another site
        if request.endpoint in open_endpoints and not request.mimetype and "Origin" not in request.headers:
            return  # from no page, and about to prove where it is from
        if request.endpoint in form_endpoints and request.mimetype == "application/x-www-form-urlencoded":
            return  # a page of another site has been refused by its Origin
        raise UnsupportedMediaType(f"a {request.method} needs the header Content-Type: application/json")


def _describe(
    app: DescribedApplication,
    title: str,
    asks_for: AsksFor | None,
    pause: Pause,
    invalid_is_400_under: tuple[str, ...],
) -> None:
    description: list[bytes] = []
    one_at_a_time = Lock()

    @app.route("/openapi.json")
    def _openapi() -> Response:
        if not description:
            app.describe(pause)
            with one_at_a_time:
                finished = _finished(app.description(), asks_for or (lambda _: None), invalid_is_400_under)
                description.append(orjson.dumps(finished))
        return Response(description[0], mimetype="application/json")

    @app.route("/docs")
    def _docs() -> str:
        return render_template_string(_DOCS_PAGE, title=title)

    @app.route("/docs/page.js")
    def _docs_script() -> Response:
        return Response(_DOCS_SCRIPT, mimetype="text/javascript")

    @app.route("/docs/page.css")
    def _docs_style() -> Response:
        return Response(_DOCS_STYLE, mimetype="text/css")

    @app.route("/docs/<path:file>")
    def _docs_file(file: str) -> Response:
        return send_from_directory(str(_SWAGGER_FILES), file, max_age=3600)


def _finished(document: dict[str, Any], asks_for: AsksFor, invalid_is_400_under: tuple[str, ...]) -> dict[str, Any]:
    """The library's description, with our problem answers in the place of its own error model."""
    for path, path_item in document["paths"].items():
        for method, operation in path_item.items():
            answers = operation["responses"]
            if path.startswith(invalid_is_400_under):
                answers.pop("422", None)
                answers.setdefault("400", problem_answer("The body is not JSON, or a field or parameter is invalid"))
            else:
                answers["422"] = problem_answer("A field or parameter is invalid")
            answers.setdefault("503", problem_answer("The database cannot be reached"))
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
                answers["404"] = problem_answer("There is no such thing; the answer lists what there is")
            if method not in {"get", "delete"}:
                answers.setdefault("400", problem_answer("The body is not JSON"))
                answers.setdefault("413", problem_answer("The body is larger than 1 MiB"))
                answers["415"] = problem_answer("The body is not application/json")
            _describe_access(operation, asks_for(f"{method.upper()} {path}"))
    return document


def _describe_access(operation: dict[str, Any], scope: str | None) -> None:
    operation.pop("security", None)
    if scope is not None:
        operation["security"] = [{"apiKey": [scope]}]
        operation["responses"]["401"] = problem_answer("The header Authorization: Bearer … is missing or wrong")
        operation["responses"]["403"] = problem_answer(f"The credential does not have the scope {scope}")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out. To pydantic that is a null, which an address cannot hold."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return kinds[0] | {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
