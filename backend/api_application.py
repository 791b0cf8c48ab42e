"""What `api_server.py` serves: the REST API and the dashboard, beside the pipeline's schedule and the executor.

It is loaded in the serving process alone: the one that watches over it needs none of this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta

from flask_openapi3.openapi import OpenAPI

from api.a2a import a2a_endpoints
from api.administration import Administration
from api.backtest import backtest_endpoints
from api.balancing import balancing_endpoints
from api.capacity import capacity_endpoints
from api.decisions import decision_endpoints
from api.event_tickets import event_ticket_endpoints
from api.flexibility import flexibility_endpoints
from api.grid import grid_endpoints
from api.grid_series import grid_series_endpoints
from api.hosted_workloads import hosted_workload_endpoints
from api.keys import key_endpoints
from api.market import market_endpoints
from api.members import member_endpoints
from api.metrics import execution_figures, pipeline_figures
from api.negotiations import negotiation_endpoints
from api.ontology import ontology_endpoints
from api.operations import operations_endpoints
from api.operators import operator_endpoints
from api.pipeline_runs import pipeline_run_endpoints
from api.plan import plan_endpoints
from api.purchases import purchase_endpoints
from api.queues import queue_endpoints
from api.runners import runner_endpoints
from api.savings import savings_endpoints
from api.service import SchedulerState, service_endpoints
from api.sold_flexibility import sold_flexibility_endpoints
from api.stored_negotiations import stored_negotiation_endpoints
from api.what_if import ConcurrencyLimit
from api.workload_changes import workload_change_endpoints
from api.workload_life import workload_life_endpoints
from api.workloads import workload_endpoints
from clock import utc_now
from dashboard.registration import FORM_ENDPOINTS, add_dashboard, stand_before_guard
from dashboard.shared_pages import SharedPages
from database.callers import CallersCalls, CallersDatabase
from database.data_disk import data_disk_troubles
from database.interface import Database
from database.opening import open_database, open_gate
from decisions.work.place_pricing import PlacePricing
from execution.bookings import BookedRun, executor_of_bookings
from execution.executor import Executor
from execution.silence import Silence
from execution.silent_runs import SilentRuns
from flexibility.life import FlexibilityLife
from flexibility.rules.supplier_prices import SupplierPrices
from ingest.health import OVERDUE, read_health
from ingest.run import run_once
from ingest.schedule import PipelineSchedule
from ingest.sources import Upstreams
from negotiation.life import CoordinatorThread
from negotiation.watch import LimitWatch, WatchedLimits
from openadr.endpoints.authorization import FORM_ENDPOINTS as TOKEN_ENDPOINTS
from openadr.endpoints.parameters import ROOT as OPENADR_ROOT
from openadr.vtn import vtn_endpoints
from openadr.webhooks import WebhookSender
from queueing.process_name import process_name
from settings import Settings, load_settings
from tenancy.access import Access
from tenancy.guard import caller_of, calling, present_caller
from tenancy.scopes import ENDPOINTS, Server
from version import VERSION
from web.application import make_application
from web.kept_answers import KeptAnswers
from web.metrics import serve_metrics

log = logging.getLogger("api_server")

# A joint plan or a back-test keeps a processor busy for seconds. One at a time leaves the other requests room.
LONG_COMPUTATIONS_AT_ONCE = 1
TURN_PATIENCE_S = 1.0

DESCRIPTION = """A data backbone for AI agents in a Digital Energy Grid: the Great Britain grid half-hour by
half-hour, data centres, workloads and decisions, as objects and links.

Carbon intensity: National Energy System Operator, CC BY 4.0. Demand and flexibility: Supported by
National Energy SO Open Data. Prices: contains BMRS data © Elexon Limited copyright and database right."""


def create_app(
    database: Database,
    settings: Settings,
    *,
    clock: Callable[[], datetime] = utc_now,
    schedule: PipelineSchedule | None = None,
    executor: Executor[BookedRun] | None = None,
    silent_runs: SilentRuns | None = None,
    flexibility: FlexibilityLife | None = None,
    pricing: PlacePricing | None = None,
    coordinator: CoordinatorThread | None = None,
    webhooks: WebhookSender | None = None,
    access: Access | None = None,
) -> OpenAPI:
    """The API over an open database. Starts nothing; the schedule, executor and watch are only reported on.

    Args:
        access: who may ask for what, running; by default as the settings say, and not running.
    """
    if access is None:
        access = api_access(database, settings)
    requests = CallersDatabase(database, access.door, present_caller) if settings.is_multi_tenant else database
    app = make_application(
        "Pylon DEG API",
        DESCRIPTION,
        VERSION,
        asks_for=access.asks_for(),
        own_names=[settings.api_host],
        allowed_origins=settings.allowed_origins,
        form_endpoints=(*FORM_ENDPOINTS, *TOKEN_ENDPOINTS),
        bodiless_deletes_under=(f"{OPENADR_ROOT}/",),
        invalid_is_400_under=(f"{OPENADR_ROOT}/",),
    )
    interval = timedelta(minutes=settings.pipeline_interval_minutes)
    app.register_api(
        service_endpoints(
            database,
            clock,
            lambda: _scheduler_state(schedule),
            interval=interval,
            troubles=lambda: [
                *data_disk_troubles(settings),
                *(
                    trouble
                    for part in (schedule, executor, silent_runs, flexibility, pricing, coordinator, webhooks, access)
                    if part is not None
                    for trouble in part.troubles()
                ),
            ],
        )
    )
    answers = _kept_answers(database, settings, clock, access)
    app.register_api(ontology_endpoints(requests, answers))
    app.register_api(grid_endpoints(requests, answers))
    app.register_api(grid_series_endpoints(requests, clock, answers))
    app.register_api(balancing_endpoints(requests, clock, answers))
    app.register_api(pipeline_run_endpoints(requests, answers))
    app.register_api(capacity_endpoints(requests, answers))
    app.register_api(workload_endpoints(requests, clock, access.count_workloads))
    app.register_api(workload_life_endpoints(requests))
    app.register_api(decision_endpoints(requests))
    carbon_price = settings.carbon_price_gbp_per_t
    app.register_api(
        runner_endpoints(requests, database, clock, carbon_price_gbp_per_t=carbon_price, silence=_silence(settings))
    )
    app.register_api(workload_change_endpoints(requests, clock))
    app.register_api(hosted_workload_endpoints(requests))
    app.register_api(flexibility_endpoints(requests, clock))
    app.register_api(sold_flexibility_endpoints(requests))
    for endpoints in vtn_endpoints(requests, access, clock, public_url=settings.api_public_url):
        app.register_api(endpoints)
    app.register_api(market_endpoints(requests, clock))
    app.register_api(purchase_endpoints(requests))
    turns = ConcurrencyLimit(LONG_COMPUTATIONS_AT_ONCE, TURN_PATIENCE_S)
    app.register_api(plan_endpoints(requests, clock, time.monotonic, turns, carbon_price))
    app.register_api(backtest_endpoints(requests, clock, turns, carbon_price))
    app.register_api(queue_endpoints(requests))
    app.register_api(operations_endpoints(requests, clock))
    app.register_api(negotiation_endpoints(requests, clock, time.monotonic, turns, carbon_price))
    app.register_api(stored_negotiation_endpoints(requests, clock, turns, carbon_price))
    app.register_api(
        a2a_endpoints(
            requests,
            clock,
            asks_for_credentials=access.asks_for() is not None,
            public_url=settings.api_public_url,
        )
    )
    app.register_api(savings_endpoints(requests, clock, carbon_price))
    administration = Administration(database, access.door, access.audit.refused, has_tenants=settings.is_multi_tenant)
    app.register_api(key_endpoints(administration, clock))
    app.register_api(member_endpoints(administration))
    app.register_api(operator_endpoints(administration, requests))
    app.register_api(event_ticket_endpoints(lambda: access.tickets.issue(calling())))
    pages = add_dashboard(
        app,
        requests,
        settings,
        access,
        clock,
        lambda: read_health(database, now=clock(), version=VERSION, stale_after=interval + OVERDUE),
        turns,
        administration,
    )
    app.wsgi_app = answers.before(SharedPages(app.wsgi_app))  # type: ignore[method-assign, assignment]
    access.guard(app)
    stand_before_guard(app, pages)
    serve_metrics(app, pipeline_figures(database, clock), execution_figures(database, clock))
    return app


def _kept_answers(
    database: Database, settings: Settings, clock: Callable[[], datetime], access: Access
) -> KeptAnswers:
    if not settings.is_multi_tenant:
        return KeptAnswers(database, clock)
    to_callers = CallersCalls(database, access.door, present_caller)
    return KeptAnswers(database, clock, to_callers=to_callers, caller_of=caller_of)


def api_access(database: Database, settings: Settings, door: Database | None = None) -> Access:
    """Who may ask this server for what; `door` is the database as requests of tenants reach it."""
    return Access(settings, ENDPOINTS[Server.API], database, host=settings.api_host, door=door)


def _silence(settings: Settings) -> Silence:
    return Silence(settings.runner_lost_after_seconds)


def _limit_watch(database: Database, settings: Settings) -> LimitWatch | None:
    if settings.negotiate_limits == "off":
        return None
    watched = WatchedLimits(
        of_regions_mw=settings.region_limits_mw, carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t
    )
    return LimitWatch(database, watched)


def _scheduler_state(schedule: PipelineSchedule | None) -> SchedulerState:
    if schedule is None or not schedule.is_running():
        return SchedulerState(state="stopped", next_run_at=None)
    return SchedulerState(state="running", next_run_at=schedule.next_run_at())


@contextmanager
def application() -> Iterator[OpenAPI]:
    """What the serving process runs until it stops: the API, the pipeline's schedule and the executor of bookings."""
    settings = load_settings()
    with ExitStack() as at_the_end:
        database = at_the_end.enter_context(closing(open_database(settings)))
        upstreams = at_the_end.enter_context(closing(Upstreams(settings)))
        schedule = PipelineSchedule(
            lambda: run_once(database, settings, upstreams, now=utc_now()),
            interval_minutes=settings.pipeline_interval_minutes,
            clock=utc_now,
        )
        door = (
            at_the_end.enter_context(closing(open_gate(settings, database))) if settings.is_multi_tenant else database
        )
        access = api_access(database, settings, door)
        executor = executor_of_bookings(
            database,
            worker=process_name(),
            carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t,
            clock=utc_now,
        )
        silent_runs = SilentRuns(database, utc_now, _silence(settings))
        flexibility = FlexibilityLife(
            database,
            worker=process_name(),
            carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t,
            supplier_prices=SupplierPrices.read(settings.flex_supplier_prices),
            clock=utc_now,
        )
        pricing = PlacePricing(database, carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t, clock=utc_now)
        coordinator = CoordinatorThread(
            database,
            worker=process_name(),
            clock=utc_now,
            carbon_price_gbp_per_t=settings.carbon_price_gbp_per_t,
            watch=_limit_watch(database, settings),
        )
        webhooks = WebhookSender(database, worker=process_name(), private_hosts=settings.openadr_private_callbacks)
        app = create_app(
            database,
            settings,
            schedule=schedule,
            executor=executor,
            silent_runs=silent_runs,
            flexibility=flexibility,
            pricing=pricing,
            coordinator=coordinator,
            webhooks=webhooks,
            access=access,
        )
        for part in (access, schedule, executor, silent_runs, flexibility, pricing, coordinator, webhooks):
            part.start()
            at_the_end.callback(part.stop)
        # All of them first, so that the one waits for its work in hand while the others do for theirs.
        for working in (executor, flexibility, coordinator, webhooks):
            at_the_end.callback(working.ask_to_stop)
        log.info("listening on http://%s:%d (a dashboard, and /docs)", settings.api_host, settings.api_port)
        yield app
