"""Puts the dashboard on an application: its pages at /dashboard/, and the way there from `/` for browsers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Flask, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from api.administration import Administration
from api.what_if import ConcurrencyLimit
from dashboard.access import access_pages
from dashboard.data_centres import data_centre_pages
from dashboard.decisions import decision_pages
from dashboard.error_pages import ErrorPages, wants_page
from dashboard.flexibility import flexibility_pages
from dashboard.gateway_address import GatewayAddress
from dashboard.negotiations import negotiation_pages
from dashboard.now import now_pages
from dashboard.operations import operation_pages
from dashboard.orders import order_pages
from dashboard.page import Pages
from dashboard.plans import plan_pages
from dashboard.savings import savings_pages
from dashboard.sign_in import PREFIX, CookieCredential, forget_credential, sign_in_page, take_credential
from dashboard.static_files import StaticFiles
from dashboard.workloads import workload_pages
from database.interface import Database
from ingest.health import Health
from settings import Settings
from tenancy.access import Access

FORM_ENDPOINTS = ("dashboard.sign_in_with", "dashboard.sign_out")
"""What takes a form as a browser sends it: neither changes anything but the browser's own cookie."""


def add_dashboard(
    app: Flask,
    database: Database,
    settings: Settings,
    access: Access,
    clock: Callable[[], datetime],
    health: Callable[[], Health],
    turns: ConcurrencyLimit,
    administration: Administration,
) -> Pages:
    """Register the pages, and say what writes them. To be called before `Access.guard`; `stand_before_guard` after.

    Args:
        database: as requests reach it, each as its caller may.
        health: how the data side is doing.
        turns: at computing at length, which pages take with the endpoints.
        administration: with what the caller looks after its operator.
    """
    static = StaticFiles()
    gateway = GatewayAddress(settings.bg_host, settings.bg_port)
    asks = access.rules.everyone is None
    pages = Pages(static, gateway, clock, health, asks_for_credentials=asks)
    dashboard = Blueprint("dashboard", __name__, url_prefix=PREFIX)
    now_pages(dashboard, pages, database, clock, settings.carbon_price_gbp_per_t)
    data_centre_pages(dashboard, pages, database, clock)
    workload_pages(dashboard, pages, database, clock, settings.carbon_price_gbp_per_t)
    decision_pages(dashboard, pages, database, clock)
    order_pages(dashboard, pages, database)
    plan_pages(dashboard, pages, database, clock, turns, settings.carbon_price_gbp_per_t)
    negotiation_pages(dashboard, pages, database, clock)
    operation_pages(dashboard, pages, database, clock, health)
    access_pages(dashboard, pages, administration)
    flexibility_pages(dashboard, pages, database, clock)
    savings_pages(dashboard, pages, database, clock, settings.carbon_price_gbp_per_t)

    @dashboard.get("/static/<digest>/<name>")
    def static_file(digest: str, name: str) -> Response:
        return static.answer(digest, name)

    @dashboard.get("/sign-in")
    def sign_in() -> Response:
        return sign_in_page(pages)

    @dashboard.post("/sign-in")
    def sign_in_with() -> Response:
        return take_credential(pages, access)

    @dashboard.post("/sign-out")
    def sign_out() -> Response:
        return forget_credential()

    app.register_blueprint(dashboard)
    _lead_browsers_there(app)
    return pages


def stand_before_guard(app: Flask, pages: Pages) -> None:
    """Let the cookie stand for the header before the guard asks for that, and refusals be pages for browsers."""
    app.wsgi_app = CookieCredential(ErrorPages(app.wsgi_app, app, pages))  # type: ignore[method-assign]


def _lead_browsers_there(app: Flask) -> None:

    @app.before_request
    def _to_the_pages() -> AnyResponse | None:
        if request.path != "/" or request.method not in {"GET", "HEAD"}:
            return None
        if not wants_page(request.headers.get("Accept")) or request.query_string:
            return None
        answer = redirect(url_for("dashboard.now"), 302)
        answer.headers["Vary"] = "Accept"
        return answer
