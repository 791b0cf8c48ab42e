"""For every operation of the three servers: with which ids of somebody else it can be asked, and how.

A row names the places of an operation where an id can stand; `check_complete` holds the rows against what the servers
say of themselves, so that neither an operation nor a parameter comes without a thought given to it here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dashboard.static_files import StaticFiles
from openadr.objects import (
    EventRequest,
    ProgramRequest,
    ReportRequest,
    ResourceRequest,
    SubscriptionRequest,
    VenRequest,
)
from openapi_description import Described, operations
from planted import DATA_CENTRES, NEVER_PLACED, SHARED_JOB, Ids
from tenancy.scopes import ENDPOINTS, Server
from tenant_purchases import Bought
from two_operators import A

PATH, QUERY, BODY, HEADER = "path", "query", "body", "header"

Filled = dict[tuple[str, str], Any]
"""(where, name) → what stands there."""

Names = Callable[[Ids], list[Filled]]
"""Every way in which an operation can name what is somebody's."""


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        usual: what every request of it holds.
        names: the ways to name something of somebody's.
        harmless: further parameters, which name nothing of anybody's.
        shows_own: whether the tenant itself finds something of its own in an answer of it.
        shows_platform: the same of the platform, which sees everybody's; by default it is as shows_own.
        described: whether the server's own description has it.
        streams: whether the answer has no end.
        moment: where it takes the moment it is to answer for; the present is another one at every request.
    """

    usual: Filled = field(default_factory=dict)
    names: Names = lambda _: []
    harmless: frozenset[str] = frozenset()
    shows_own: bool = False
    shows_platform: bool | None = None
    described: bool = True
    streams: bool = False
    moment: tuple[str, str] | None = None

    def is_whole(self, name: str) -> bool:
        """Whether an operation can be asked without naming anything of anybody's."""
        named = set(re.findall(r"{(.*?)}", name))
        return named <= {place for where, place in self.usual if where == PATH}


def at(where: str, name: str, *attributes: str, also: Mapping[tuple[str, str], Any] | None = None) -> Names:
    """One place that takes any of these ids."""

    def names(ids: Ids) -> list[Filled]:
        return [{(where, name): getattr(ids, attribute), **(also or {})} for attribute in attributes]

    return names


def any_of(*ways: Names) -> Names:
    return lambda ids: [filled for way in ways for filled in way(ids)]


OBJECTS = {
    "ComputeWorkload": ("job", "dead_job"),
    "CapacityBooking": ("booking",),
    "Agent": ("agent",),
    "AgentState": ("state",),
    "OrchestrationDecision": ("decision",),
    "StorageAsset": ("asset",),
    "FlexibilityEvent": ("decision",),
    "FlexibilityMove": ("decision",),
}
LINKS = {
    "ComputeWorkload": ("OWNED_BY", "DECIDES", "BOOKED_FOR", "RUN_OF"),
    "CapacityBooking": ("BOOKED_FOR", "BOOKED_AT", "RAN_BY"),
    "Agent": ("OPERATED_BY", "STATE_OF", "DECIDED_BY"),
    "AgentState": ("STATE_OF",),
    "OrchestrationDecision": ("DECIDED_BY", "DECIDES", "CHOSE"),
    "StorageAsset": ("OPERATED_BY", "LOCATED_IN"),
    "FlexibilityEvent": ("HELD_FOR", "GAVE_WAY_FOR"),
    "FlexibilityMove": ("MOVED", "MOVED_TO"),
}
FILTERS: dict[str, dict[str, Callable[[Ids], str]]] = {
    "ComputeWorkload": {"operator": lambda ids: ids.operator, "job_id": lambda ids: ids.job},
    "CapacityBooking": {"job_id": lambda ids: ids.order_job},
    "OrchestrationDecision": {"job_id": lambda ids: ids.job},
    "AgentState": {"agent_id": lambda ids: ids.agent},
}


def _objects(ids: Ids) -> list[Filled]:
    return [
        {(PATH, "object_type"): object_type, (PATH, "object_id"): getattr(ids, attribute)}
        for object_type, attributes in OBJECTS.items()
        for attribute in attributes
    ]


def _lists_after(ids: Ids) -> list[Filled]:
    return [
        {(PATH, "object_type"): filled[PATH, "object_type"], (QUERY, "after"): filled[PATH, "object_id"]}
        for filled in _objects(ids)
    ]


def _lists_of(ids: Ids) -> list[Filled]:
    """Whole lists, which name nothing, and lists by what is somebody's."""
    whole: list[Filled] = [{(PATH, "object_type"): object_type} for object_type in OBJECTS]
    return whole + [
        {(PATH, "object_type"): object_type, (QUERY, name): of(ids)}
        for object_type, by in FILTERS.items()
        for name, of in by.items()
    ]


def _links(ids: Ids) -> list[Filled]:
    steps: list[Filled] = [
        {**filled, (PATH, "link_type"): link}
        for filled in _objects(ids)
        for link in LINKS[filled[PATH, "object_type"]]
    ]
    # From what all see to what is somebody's.
    from_public: list[Filled] = [
        {(PATH, "object_type"): "Operator", (PATH, "object_id"): A, (PATH, "link_type"): link}
        for link in ("OPERATED_BY", "OWNED_BY")
    ] + [
        {(PATH, "object_type"): "DataCentre", (PATH, "object_id"): dc_id, (PATH, "link_type"): link}
        for dc_id in DATA_CENTRES
        for link in ("CHOSE", "HOSTED_BY", "BOOKED_AT", "RAN_AT")
    ]
    begun: list[Filled] = [
        {
            (PATH, "object_type"): "Operator",
            (PATH, "object_id"): A,
            (PATH, "link_type"): "OWNED_BY",
            (QUERY, "after"): f"ComputeWorkload/{ids.job}",
        }
    ]
    return steps + from_public + begun


WORKLOAD: dict[str, Any] = {"workload_type": "RAG_QUERY", **NEVER_PLACED}
OPTIONS = frozenset(
    {
        "limit",
        "status",
        "count",
        "operator",
        "host_dc_id",
        "workload_type",
        "at",
        "policy",
        "policies",
        "time_limit_s",
        "from",
        "to",
        "every_minutes",
    }
)
WORKLOAD_FIELDS = frozenset(
    {
        *("workload_type", "urgency", "required_gpu_mins", "required_cpu_cores", "required_memory_gb"),
        *("estimated_energy_kwh", "carbon_cap_gco2", "max_price_gbp", "deadline", "deferral_window_mins", "run"),
    }
)
NUMBERS = ("newest", "notification")
JOBS = ("job", "dead_job", "order_job")
RUNNER: dict[str, Any] = {
    "runner_id": "runner-1",
    "dc_id": "DC-999",
    "capacity_kw": 1,
    "templates": {"t": {"power_kw": 1, "longest_s": 1, "parameters": {}}},
}
RUN_DEEDS: dict[str, dict[str, Any]] = {
    "begin": {},
    "heartbeat": {"energy": []},
    "give-back": {"reason": "none", "final": False},
    "finish": {"ended": "lost", "energy": []},
}


def _submissions(ids: Ids) -> list[Filled]:
    return [
        {(BODY, "job_id"): ids.job, **_body(WORKLOAD)},
        {(BODY, "job_id"): ids.dead_job, **_body(WORKLOAD)},
        {(BODY, "job_id"): SHARED_JOB, **_body(WORKLOAD)},
        {(BODY, "operator"): ids.operator, **_body(WORKLOAD)},
    ]


def _orders(ids: Ids) -> list[Filled]:
    return [{(PATH, "order_id"): ids.bought.order_id}]


def _body(document: Mapping[str, Any]) -> Filled:
    return {(BODY, name): value for name, value in document.items()}


def _keys(ids: Ids) -> list[Filled]:
    return [
        {(BODY, "name"): "another", (BODY, "service_account_id"): ids.account},
    ]


def _accounts(ids: Ids) -> list[Filled]:
    return [{(BODY, "user_id"): f"svc:{ids.account}"}]


SERVICE = {
    "GET /": Row(),
    "GET /health": Row(),
    "GET /docs": Row(described=False),
    "GET /docs/page.js": Row(described=False),
    "GET /docs/page.css": Row(described=False),
    "GET /docs/{path:file}": Row({(PATH, "path:file"): "css/swagger-ui.css"}, described=False),
    "GET /openapi.json": Row(described=False),
    "GET /metrics": Row(described=False),
}
FLEXIBILITY = {"name": "x", "starts_at": "2020-01-01T00:00:00Z", "need_mw": [1], "price_gbp_per_mwh": [1]}
"""Long over: it is refused, whoever asks."""

SOLD = Row(names=at(QUERY, "event_id", "decision"), harmless=OPTIONS | {"after", "unit_id"})
OPENADR_BODIES: dict[str, tuple[dict[str, Any], frozenset[str]]] = {
    # Of what is not there: who may write is refused, whoever it is.
    "programs": ({"programName": ""}, frozenset(ProgramRequest.model_json_schema()["properties"])),
    "events": ({"programID": "x"}, frozenset(EventRequest.model_json_schema()["properties"])),
    "reports": (
        {"eventID": "x", "clientName": "x", "resources": []},
        frozenset(ReportRequest.model_json_schema()["properties"]),
    ),
    "vens": ({"venName": ""}, frozenset(VenRequest.model_json_schema()["properties"])),
    "resources": (
        {"venID": "x", "resourceName": "x"},
        frozenset(ResourceRequest.model_json_schema()["properties"]),
    ),
    "subscriptions": (
        {"clientName": "x", "programID": "x", "objectOperations": []},
        frozenset(SubscriptionRequest.model_json_schema()["properties"]),
    ),
}
OPENADR_FILTERS = frozenset(
    {"skip", "limit", "targets", "programID", "eventID", "clientName", "venName", "venID", "resourceName", "objects"}
    | {"active"}
)


def _openadr() -> dict[str, Row]:
    """Of each kind: whose is whose stands in tests/openadr/test_tenants.py."""
    rows: dict[str, Row] = {}
    for kind, (body, fields) in OPENADR_BODIES.items():
        path = f"/openadr3/3.1.0/{kind}"
        named = at(PATH, "object_id", "decision")
        rows |= {
            f"GET {path}": Row(harmless=OPENADR_FILTERS),
            f"POST {path}": Row(_body(body), harmless=fields),
            f"GET {path}/{{object_id}}": Row(names=named),
            f"PUT {path}/{{object_id}}": Row(_body(body), named, fields),
            f"DELETE {path}/{{object_id}}": Row(names=named),
        }
    return rows


OPENADR = _openadr()

SIGNED = Row(harmless=frozenset({"context", "message", "error"}))
"""Here without a signature; with one, test_matrix.py asks them with `tenant_purchases.requests_about`."""

NEGOTIATORS = [
    {
        "kind": "compute",
        "agent": name,
        "endowment_mw": 1.5,
        "cost_gbp_per_mwh": [80, 120],
        "jobs": [{"job_id": "j", "energy_mwh": 1, "max_power_mw": 2}],
    }
    for name in ("a", "b")
]
DEAD_LETTERS = Row(harmless=OPTIONS, shows_platform=True)
PURCHASES = Row(names=at(QUERY, "after", "place"), harmless=OPTIONS, shows_own=True)
ROWS: Mapping[Server, Mapping[str, Row]] = {
    Server.API: {
        **SERVICE,
        "GET /api/v1/live-state": Row(harmless=frozenset({"objects"}), shows_own=True),
        "GET /api/v1/ontology": Row(),
        "GET /api/v1/objects/{object_type}": Row(
            names=any_of(_lists_of, _lists_after), harmless=OPTIONS, shows_own=True
        ),
        "GET /api/v1/objects/{object_type}/{object_id}": Row(names=_objects, shows_own=True),
        "GET /api/v1/objects/{object_type}/{object_id}/links/{link_type}": Row(
            names=_links, harmless=OPTIONS, shows_own=True
        ),
        "GET /api/v1/grid/regional": Row(),
        "GET /api/v1/grid/forecast": Row(harmless=frozenset({"region_id"})),
        "GET /api/v1/grid/forecast/regions": Row(),
        "GET /api/v1/grid/history": Row(harmless=frozenset({"from", "to", "region_id"})),
        "POST /api/v1/events/ticket": Row(),
        "GET /api/v1/grid/system-prices": Row(harmless=frozenset({"from", "to", "revisions"})),
        "GET /api/v1/grid/margin": Row(),
        "GET /api/v1/grid/dfs-events": Row(harmless=frozenset({"from", "to"})),
        "GET /api/v1/grid/dfs-events/{event_ref}": Row({(PATH, "event_ref"): "2026-1"}),
        "GET /api/v1/pipeline-runs": Row(harmless=frozenset({"limit", "after"})),
        # Everybody may know of every data centre what it no longer offers.
        "GET /api/v1/data-centres/{dc_id}/capacity": Row({(PATH, "dc_id"): DATA_CENTRES[0]}),
        "GET /api/v1/decisions": Row(
            names=any_of(at(QUERY, "after", "place"), at(QUERY, "job_id", "job", "dead_job")),
            harmless=OPTIONS | {"dc_id", "scorer"},
            shows_own=True,
        ),
        "GET /api/v1/market/catalog": Row(),
        "GET /api/v1/market/orders": PURCHASES,
        "GET /api/v1/market/orders/{order_id}": Row(names=_orders, shows_own=True),
        "GET /api/v1/market/quotes": PURCHASES,
        "GET /api/v1/workloads": Row(
            names=at(QUERY, "after", "job", "dead_job", "order_job"), harmless=OPTIONS, shows_own=True
        ),
        "GET /api/v1/workloads/{job_id}": Row(
            names=at(PATH, "job_id", "job", "dead_job", "order_job"), shows_own=True
        ),
        "GET /api/v1/workloads/{job_id}/life": Row(
            names=at(PATH, "job_id", "job", "dead_job", "order_job"), shows_own=True
        ),
        "GET /api/v1/workloads/{job_id}/run": Row(names=at(PATH, "job_id", "job", "dead_job")),
        "GET /api/v1/hosted-workloads": Row(
            names=at(QUERY, "after", "job", "order_job"), harmless=OPTIONS, shows_own=True
        ),
        "GET /api/v1/flexibility/events": Row(harmless=OPTIONS | {"after"}),
        "POST /api/v1/flexibility/events": Row(
            _body(FLEXIBILITY),
            harmless=frozenset(FLEXIBILITY) | {"penalty_gbp_per_mwh", "compensation", "programme", "in_day"},
        ),
        "GET /api/v1/flexibility/events/{event_id}": Row(names=at(PATH, "event_id", "decision")),
        "POST /api/v1/flexibility/events/{event_id}/cancel": Row(
            _body({"reason": "x"}), at(PATH, "event_id", "decision"), frozenset({"reason"})
        ),
        "GET /api/v1/flexibility/units": Row(),
        "GET /api/v1/flexibility/baselines": SOLD,
        "GET /api/v1/flexibility/commitments": SOLD,
        "GET /api/v1/flexibility/settlements": SOLD,
        "GET /openadr3/3.1.0/auth/server": Row(),
        "POST /openadr3/3.1.0/auth/token": Row(described=False),  # tests/openadr/test_tenants.py
        **OPENADR,
        "GET /openadr3/3.1.0/notifiers": Row(),
        "GET /api/v1/runners": Row(),
        "POST /api/v1/runners": Row(_body(RUNNER), lambda _: [{}], frozenset({"take_over"})),
        "POST /api/v1/runners/{runner_id}/take": Row(
            _body({"session": "x", "templates": [], "holding": [], "wait_s": 0}), at(PATH, "runner_id", "operator")
        ),
        **{
            f"POST /api/v1/runners/{{runner_id}}/runs/{{run_id}}/{deed}": Row(
                _body({"fence": "1", **more}),
                at(PATH, "run_id", *NUMBERS, also={(PATH, "runner_id"): "runner-1"}),
                frozenset({"exit_status", "signal", "cause", "reason", "output_tail", "output_bytes", "run_s"}),
            )
            for deed, more in RUN_DEEDS.items()
        },
        "POST /api/v1/workloads": Row(_body(WORKLOAD), _submissions, WORKLOAD_FIELDS | {"host_dc_id"}),
        "POST /api/v1/workloads/{job_id}/cancel": Row(
            _body({"reason": "x"}), at(PATH, "job_id", "job", "dead_job"), frozenset({"reason"})
        ),
        "POST /api/v1/workloads/{job_id}/move": Row(
            _body({"dc_id": DATA_CENTRES[0]}), at(PATH, "job_id", "job", "dead_job"), frozenset({"dc_id", "start"})
        ),
        "GET /api/v1/operations": Row(),
        "GET /api/v1/queues": Row(shows_platform=True),
        "POST /api/v1/queues/requeue": Row(names=lambda ids: [{(BODY, "notification_ids"): [ids.notification]}]),
        "GET /api/v1/savings": Row(harmless=frozenset({"from", "to", "by"})),
        "POST /api/v1/plan": Row(
            _body(WORKLOAD), _submissions, WORKLOAD_FIELDS | OPTIONS | {"host_dc_id"}, moment=(QUERY, "at")
        ),
        # They take workloads as they stand in the request, and look none up.
        "POST /api/v1/plan/batch": Row(_body({"workloads": [WORKLOAD]}), harmless=OPTIONS | {"workloads"}),
        "POST /api/v1/backtest": Row(
            _body({"workloads": [WORKLOAD]}), harmless=OPTIONS | {"workloads", "hold_power"}
        ),
        # So does this with agents.
        "POST /api/v1/negotiations/plan": Row(
            _body({"agents": NEGOTIATORS, "half_hours": 2}),
            harmless=OPTIONS | {"agents", "half_hours", "most_rounds", "time_limit_s"},
        ),
        "GET /api/v1/negotiations": Row(harmless=OPTIONS | {"after"}),
        "POST /api/v1/negotiations": Row(
            _body({"name": "x", "starts_at": "2020-01-01T00:00:00Z", "half_hours": 2, "agents": NEGOTIATORS}),
            harmless=frozenset({"name", "starts_at", "half_hours", "agents", "round_seconds", "most_rounds"}),
        ),
        "GET /api/v1/negotiations/{negotiation_id}": Row(names=at(PATH, "negotiation_id", "decision")),
        "POST /api/v1/negotiations/{negotiation_id}/cancel": Row(
            _body({"reason": "x"}), at(PATH, "negotiation_id", "decision"), frozenset({"reason"})
        ),
        "GET /api/v1/negotiations/{negotiation_id}/agents/{agent}": Row(
            {(PATH, "agent"): "outside"}, at(PATH, "negotiation_id", "decision"), frozenset({"agent"})
        ),
        "POST /api/v1/negotiations/{negotiation_id}/agents/{agent}/messages": Row(
            {(PATH, "agent"): "outside", **_body({"message_id": "x", "performative": "refuse", "reason": "x"})},
            at(PATH, "negotiation_id", "decision"),
            frozenset({"agent", "message_id", "performative", "round", "plans", "award_id", "reason"}),
        ),
        "GET /.well-known/agent-card.json": Row(),
        "POST /a2a": Row(
            _body({"jsonrpc": "2.0", "id": "1", "method": "ListTasks", "params": {}}),
            harmless=frozenset({"jsonrpc", "id", "method", "params"}),
        ),
        "GET /dashboard/": Row(shows_own=True, shows_platform=False, described=False),
        "GET /dashboard/regions/{int:region_id}": Row({(PATH, "int:region_id"): 13}, described=False),
        "GET /dashboard/data-centres": Row(described=False),
        "GET /dashboard/data-centres/{dc_id}": Row({(PATH, "dc_id"): DATA_CENTRES[1]}, described=False),
        "GET /dashboard/workloads": Row(
            names=at(QUERY, "after", "job", "dead_job", "order_job"), shows_own=True, described=False
        ),
        "GET /dashboard/workloads/new": Row(described=False),
        "GET /dashboard/workloads/{job_id}": Row(
            names=at(PATH, "job_id", "job", "dead_job", "order_job"), shows_own=True, described=False
        ),
        "GET /dashboard/decisions": Row(
            names=any_of(at(QUERY, "after", "place"), at(QUERY, "job_id", "job", "dead_job")),
            shows_own=True,
            described=False,
        ),
        "GET /dashboard/decisions/{decision_id}": Row(
            names=at(PATH, "decision_id", "decision"), shows_own=True, described=False
        ),
        "GET /dashboard/orders": Row(names=at(QUERY, "after", "place"), shows_own=True, described=False),
        "GET /dashboard/orders/{order_id}": Row(names=_orders, shows_own=True, described=False),
        # They take workloads as they stand in the address, and look none up.
        "GET /dashboard/plan": Row(described=False),
        "GET /dashboard/backtest": Row(described=False),
        "GET /dashboard/operations": Row(shows_platform=True, described=False),
        # Of the caller's own operator: no address can name another.
        "GET /dashboard/keys": Row(shows_own=True, shows_platform=False, described=False),
        "GET /dashboard/audit": Row(shows_own=True, shows_platform=False, described=False),
        "GET /dashboard/negotiations": Row(harmless=OPTIONS | {"after"}, described=False),
        "GET /dashboard/negotiations/{negotiation_id}": Row(
            names=at(PATH, "negotiation_id", "decision"), harmless=frozenset({"round"}), described=False
        ),
        "GET /dashboard/flexibility": Row(harmless=OPTIONS | {"after"}, described=False),
        "GET /dashboard/flexibility/{event_id}": Row(names=at(PATH, "event_id", "decision"), described=False),
        "GET /dashboard/savings": Row(described=False),
        "GET /dashboard/static/{digest}/{name}": Row(
            {(PATH, "digest"): StaticFiles().digest, (PATH, "name"): "page.js"}, described=False
        ),
        "GET /dashboard/sign-in": Row(described=False),
        "POST /dashboard/sign-in": Row(described=False),
        "POST /dashboard/sign-out": Row(described=False),
        "GET /api/v1/tenancy/keys": Row(shows_own=True),
        "POST /api/v1/tenancy/keys": Row(
            _body({"name": "another"}), _keys, frozenset({"name", "role", "scopes", "expires_in_days"})
        ),
        "POST /api/v1/tenancy/keys/{key_id}/roll": Row(
            _body({"overlap_hours": 1}), at(PATH, "key_id", "key"), frozenset({"overlap_hours"})
        ),
        "POST /api/v1/tenancy/keys/{key_id}/revoke": Row(names=at(PATH, "key_id", "key")),
        "GET /api/v1/tenancy/members": Row(shows_own=True),
        "POST /api/v1/tenancy/members": Row(
            _body({"role": "reader"}), any_of(at(BODY, "user_id", "user"), _accounts), frozenset({"role"})
        ),
        "POST /api/v1/tenancy/members/remove": Row(names=any_of(at(BODY, "user_id", "user"), _accounts)),
        "GET /api/v1/tenancy/service-accounts": Row(shows_own=True),
        "POST /api/v1/tenancy/service-accounts": Row(_body({"name": "another"}), harmless=frozenset({"role"})),
        "POST /api/v1/tenancy/service-accounts/{service_account_id}/disable": Row(
            names=at(PATH, "service_account_id", "account")
        ),
        "GET /api/v1/tenancy/operator": Row(),
        # Of the caller's own operator: no request can name another.
        "POST /api/v1/tenancy/operator": Row(
            _body({"country": "GB"}), harmless=frozenset({"name", "operator_type", "country"})
        ),
        "GET /api/v1/tenancy/operators": Row(),
        "POST /api/v1/tenancy/operators": Row(
            names=at(BODY, "operator_id", "operator"), harmless=frozenset({"name", "operator_type", "country"})
        ),
        "GET /api/v1/tenancy/limits": Row(),
        "POST /api/v1/tenancy/limits": Row(
            _body({"name": "keys", "capacity": 1000}), harmless=frozenset({"name", "capacity"})
        ),
        # A place is how many of one's own events are before it.
        "GET /api/v1/tenancy/audit-events": Row(harmless=OPTIONS | {"after"}, shows_own=True),
    },
    Server.GATEWAY: {
        **SERVICE,
        "GET /beckn/catalog": Row(harmless=OPTIONS, shows_own=True),
        "GET /beckn/broadcast": Row(
            names=any_of(
                at(QUERY, "after", *NUMBERS),
                at(QUERY, "lastEventId", *NUMBERS),
                at(HEADER, "Last-Event-ID", *NUMBERS),
                at(QUERY, "ticket", "ticket"),
                at(QUERY, "job_id", "job", "dead_job"),
            ),
            harmless=frozenset({"topics", "detail"}),
            streams=True,
        ),
        "POST /beckn/broadcast/ticket": Row(),
        "GET /stream": Row(described=False),  # what it says to whom: tests/gateway/test_tenants.py
        "GET /asyncapi.json": Row(described=False),
        "GET /beckn/broadcast/poll": Row(
            names=any_of(at(QUERY, "after", *NUMBERS), at(QUERY, "job_id", "job", "dead_job")),
            harmless=OPTIONS | {"topics", "detail"},
            shows_own=True,
        ),
        "GET /beckn/context": Row(names=at(QUERY, "task_id", "job", "dead_job"), shows_own=True),
        "POST /beckn/context/processed": Row(
            names=any_of(at(BODY, "task_id", "job", "dead_job"), at(BODY, "consumer", "consumer"), lambda _: [{}])
        ),
        "GET /beckn/llm-output": Row(
            names=any_of(
                at(QUERY, "task_id", "job", "dead_job"),
                at(QUERY, "consumer", "consumer"),
                at(HEADER, "If-None-Match", "etag"),
                at(HEADER, "If-None-Match", "etag", also={(QUERY, "task_id"): SHARED_JOB}),
            ),
            shows_own=True,
        ),
        "POST /beckn/llm-output/acknowledge": Row(
            names=any_of(
                at(BODY, "task_id", "job", "dead_job"),
                at(BODY, "consumer", "consumer", also={(BODY, "task_id"): SHARED_JOB}),
                at(BODY, "sequence", *NUMBERS, also={(BODY, "task_id"): SHARED_JOB}),
            )
        ),
        "GET /beckn/llm-output/history": Row(names=at(QUERY, "after", *NUMBERS), harmless=OPTIONS, shows_own=True),
        "GET /beckn/llm-output/{task_id}/task": Row(names=at(PATH, "task_id", "job", "dead_job"), shows_own=True),
        "GET /beckn/llm-output/{task_id}/data-centres/{dc_id}": Row(
            names=at(PATH, "task_id", "job", "dead_job", also={(PATH, "dc_id"): DATA_CENTRES[0]}),
        ),
        "GET /queue/dead/own": Row(harmless=OPTIONS, shows_own=True),
        "GET /queue/dead": Row(names=at(QUERY, "after", *NUMBERS), harmless=OPTIONS, shows_platform=True),
        "POST /queue/dead/requeue": Row(names=lambda ids: [{(BODY, "notification_ids"): [ids.notification]}]),
        "POST /beckn/search": SIGNED,
        "POST /beckn/on_search": SIGNED,
        "GET /beckn/dead-letters": DEAD_LETTERS,
        "GET /beckn/dead-letters/own": Row(harmless=OPTIONS, shows_own=True),
        "POST /registry/lookup": Row(
            harmless=frozenset(
                {"subscriber_id", "url", "type", "domain", "location", "key_id", "signing_public_key", "status"}
            )
        ),
    },
    Server.PROVIDER: {
        **SERVICE,
        **{
            f"POST /beckn/{action}": SIGNED
            for action in ("search", "select", "init", "confirm", "status", "update", "cancel")
        },
        "GET /beckn/dead-letters": DEAD_LETTERS,
    },
}


def check_complete(server: Server, description: Described) -> None:
    """Every operation that a server describes has a row, and each of its parameters a place in it."""
    described = {f"{method.upper()} {path}": operation for method, path, operation in operations(description)}
    rows = ROWS[server]
    assert set(described) == {name for name, row in rows.items() if row.described}
    assert {name.replace("{", "<").replace("}", ">") for name in rows} == set(ENDPOINTS[server])
    some = Ids(*("x" * 3,) * 11, 1, 1, "x", "x", Bought("x", "x", "x", {}, {}), "xxx", "xxx", "x")
    for name, operation in described.items():
        row = rows[name]
        known = {place for filled in [row.usual, *row.names(some)] for _, place in filled} | row.harmless
        parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
        fields = _fields(description, operation)
        assert parameters | fields <= known, (name, (parameters | fields) - known)


def _fields(description: Described, operation: Described) -> set[str]:
    found: set[str] = set()
    for media in operation.get("requestBody", {}).get("content", {}).values():
        for schema in _alternatives(description, media["schema"]):
            found |= set(schema.get("properties", ()))
    return found


def _alternatives(description: Described, schema: Described) -> Iterator[Described]:
    while "$ref" in schema:
        found: Any = description
        for part in schema["$ref"].split("/")[1:]:
            found = found[part]
        schema = found
    yield schema
    for inner in [
        *schema.get("anyOf", ()),
        *schema.get("oneOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ]:
        yield from _alternatives(description, inner)
