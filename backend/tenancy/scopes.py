"""What each endpoint of the three servers asks of its caller. What stands nowhere here is refused.

A test compares this table with what the servers say of themselves, so an endpoint cannot come without a line in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vocabulary import StrEnum


class Server(StrEnum):
    """The three programs that answer requests."""

    API = "api"
    GATEWAY = "gateway"
    PROVIDER = "provider"


class Scope(StrEnum):
    """What a credential may be good for."""

    GRID_READ = "grid:read"
    WORLD_READ = "world:read"
    WORKLOADS_READ = "workloads:read"
    WORKLOADS_WRITE = "workloads:write"
    PLANS_RUN = "plans:run"
    DECISIONS_READ = "decisions:read"
    DECISIONS_ACKNOWLEDGE = "decisions:acknowledge"
    RUNNERS_RUN = "runners:run"
    OPENADR_USE = "openadr:use"
    """OpenADR: alone it makes a VEN; with `workloads:write`, business logic."""
    KEYS_MANAGE = "keys:manage"
    MEMBERS_MANAGE = "members:manage"
    OPERATOR_MANAGE = "operator:manage"
    AUDIT_READ = "audit:read"
    PLATFORM_READ = "platform:read"
    PLATFORM_WRITE = "platform:write"
    METRICS_READ = "metrics:scrape"


class Without(StrEnum):
    """Why an endpoint asks for no scope."""

    PUBLIC = "public"
    SIGNED = "signed"
    """A message proves itself who it is from: Beckn's by a signature, OAuth's by the secret in it."""


class Role(StrEnum):
    """What a membership makes of somebody, the least first."""

    READER = "reader"
    MEMBER = "member"
    ADMIN = "admin"
    PLATFORM = "platform"


Need = Scope | Without

_READER = frozenset({Scope.GRID_READ, Scope.WORLD_READ, Scope.WORKLOADS_READ, Scope.DECISIONS_READ})
_MEMBER = _READER | {
    Scope.WORKLOADS_WRITE,
    Scope.PLANS_RUN,
    Scope.DECISIONS_ACKNOWLEDGE,
    Scope.RUNNERS_RUN,
    Scope.OPENADR_USE,
}
_ADMIN = _MEMBER | {Scope.KEYS_MANAGE, Scope.MEMBERS_MANAGE, Scope.OPERATOR_MANAGE, Scope.AUDIT_READ}

ROLE_SCOPES: Mapping[Role, frozenset[Scope]] = MappingProxyType(
    {Role.READER: _READER, Role.MEMBER: _MEMBER, Role.ADMIN: _ADMIN, Role.PLATFORM: frozenset(Scope)}
)
"""What each role may at most."""

READ_SCOPES = _READER | {Scope.PLATFORM_READ}
"""What somebody on this machine may who gives no credential, where PYLON_API_KEY guards only what changes things."""

_EVERY_SERVER: Mapping[str, Need] = {
    "GET /": Without.PUBLIC,
    "GET /health": Without.PUBLIC,
    "GET /docs": Without.PUBLIC,
    "GET /docs/page.js": Without.PUBLIC,
    "GET /docs/page.css": Without.PUBLIC,
    "GET /docs/<path:file>": Without.PUBLIC,
    "GET /openapi.json": Without.PUBLIC,
    "GET /metrics": Scope.METRICS_READ,
}

ENDPOINTS: Mapping[Server, Mapping[str, Need]] = MappingProxyType(
    {
        Server.API: {
            **_EVERY_SERVER,
            "GET /api/v1/live-state": Scope.WORLD_READ,
            "GET /api/v1/ontology": Scope.WORLD_READ,
            "GET /api/v1/objects/<object_type>": Scope.WORLD_READ,
            "GET /api/v1/objects/<object_type>/<object_id>": Scope.WORLD_READ,
            "GET /api/v1/objects/<object_type>/<object_id>/links/<link_type>": Scope.WORLD_READ,
            "GET /api/v1/grid/regional": Scope.GRID_READ,
            "GET /api/v1/grid/forecast": Scope.GRID_READ,
            "GET /api/v1/grid/forecast/regions": Scope.GRID_READ,
            "GET /api/v1/grid/history": Scope.GRID_READ,
            "GET /api/v1/grid/system-prices": Scope.GRID_READ,
            "GET /api/v1/grid/margin": Scope.GRID_READ,
            "GET /api/v1/grid/dfs-events": Scope.GRID_READ,
            "GET /api/v1/grid/dfs-events/<event_ref>": Scope.GRID_READ,
            "GET /api/v1/pipeline-runs": Scope.GRID_READ,
            "POST /api/v1/events/ticket": Scope.DECISIONS_READ,
            "GET /api/v1/data-centres/<dc_id>/capacity": Scope.GRID_READ,
            "GET /api/v1/decisions": Scope.DECISIONS_READ,
            "GET /api/v1/market/catalog": Scope.GRID_READ,
            "GET /api/v1/market/orders": Scope.WORKLOADS_READ,
            "GET /api/v1/market/orders/<order_id>": Scope.WORKLOADS_READ,
            "GET /api/v1/market/quotes": Scope.WORKLOADS_READ,
            "GET /api/v1/workloads": Scope.WORKLOADS_READ,
            "GET /api/v1/workloads/<job_id>": Scope.WORKLOADS_READ,
            "GET /api/v1/workloads/<job_id>/run": Scope.WORKLOADS_READ,
            "GET /api/v1/workloads/<job_id>/life": Scope.WORKLOADS_READ,
            "POST /api/v1/workloads": Scope.WORKLOADS_WRITE,
            "POST /api/v1/workloads/<job_id>/cancel": Scope.WORKLOADS_WRITE,
            "POST /api/v1/workloads/<job_id>/move": Scope.WORKLOADS_WRITE,
            "GET /api/v1/hosted-workloads": Scope.WORKLOADS_READ,
            "GET /api/v1/flexibility/events": Scope.WORKLOADS_READ,
            "POST /api/v1/flexibility/events": Scope.WORKLOADS_WRITE,
            "GET /api/v1/flexibility/events/<event_id>": Scope.WORKLOADS_READ,
            "POST /api/v1/flexibility/events/<event_id>/cancel": Scope.WORKLOADS_WRITE,
            "GET /api/v1/flexibility/units": Scope.WORKLOADS_READ,
            "GET /api/v1/flexibility/baselines": Scope.WORKLOADS_READ,
            "GET /api/v1/flexibility/commitments": Scope.WORKLOADS_READ,
            "GET /api/v1/flexibility/settlements": Scope.WORKLOADS_READ,
            "GET /openadr3/3.1.0/auth/server": Without.PUBLIC,
            "POST /openadr3/3.1.0/auth/token": Without.SIGNED,
            "GET /openadr3/3.1.0/programs": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/programs": Scope.WORKLOADS_WRITE,
            "GET /openadr3/3.1.0/programs/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/programs/<object_id>": Scope.WORKLOADS_WRITE,
            "DELETE /openadr3/3.1.0/programs/<object_id>": Scope.WORKLOADS_WRITE,
            "GET /openadr3/3.1.0/events": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/events": Scope.WORKLOADS_WRITE,
            "GET /openadr3/3.1.0/events/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/events/<object_id>": Scope.WORKLOADS_WRITE,
            "DELETE /openadr3/3.1.0/events/<object_id>": Scope.WORKLOADS_WRITE,
            "GET /openadr3/3.1.0/reports": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/reports": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/reports/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/reports/<object_id>": Scope.OPENADR_USE,
            "DELETE /openadr3/3.1.0/reports/<object_id>": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/vens": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/vens": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/vens/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/vens/<object_id>": Scope.OPENADR_USE,
            "DELETE /openadr3/3.1.0/vens/<object_id>": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/resources": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/resources": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/resources/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/resources/<object_id>": Scope.OPENADR_USE,
            "DELETE /openadr3/3.1.0/resources/<object_id>": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/subscriptions": Scope.OPENADR_USE,
            "POST /openadr3/3.1.0/subscriptions": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/subscriptions/<object_id>": Scope.OPENADR_USE,
            "PUT /openadr3/3.1.0/subscriptions/<object_id>": Scope.OPENADR_USE,
            "DELETE /openadr3/3.1.0/subscriptions/<object_id>": Scope.OPENADR_USE,
            "GET /openadr3/3.1.0/notifiers": Scope.OPENADR_USE,
            "GET /api/v1/runners": Scope.RUNNERS_RUN,
            "POST /api/v1/runners": Scope.RUNNERS_RUN,
            "POST /api/v1/runners/<runner_id>/take": Scope.RUNNERS_RUN,
            "POST /api/v1/runners/<runner_id>/runs/<run_id>/begin": Scope.RUNNERS_RUN,
            "POST /api/v1/runners/<runner_id>/runs/<run_id>/heartbeat": Scope.RUNNERS_RUN,
            "POST /api/v1/runners/<runner_id>/runs/<run_id>/give-back": Scope.RUNNERS_RUN,
            "POST /api/v1/runners/<runner_id>/runs/<run_id>/finish": Scope.RUNNERS_RUN,
            "GET /api/v1/operations": Scope.PLATFORM_READ,
            "GET /api/v1/queues": Scope.PLATFORM_READ,
            "POST /api/v1/queues/requeue": Scope.PLATFORM_WRITE,
            "GET /api/v1/savings": Scope.WORKLOADS_READ,
            "POST /api/v1/plan": Scope.PLANS_RUN,
            "POST /api/v1/plan/batch": Scope.PLANS_RUN,
            "POST /api/v1/backtest": Scope.PLANS_RUN,
            "POST /api/v1/negotiations/plan": Scope.PLANS_RUN,
            "GET /api/v1/negotiations": Scope.WORKLOADS_READ,
            "POST /api/v1/negotiations": Scope.WORKLOADS_WRITE,
            "GET /api/v1/negotiations/<negotiation_id>": Scope.WORKLOADS_READ,
            "POST /api/v1/negotiations/<negotiation_id>/cancel": Scope.WORKLOADS_WRITE,
            "GET /api/v1/negotiations/<negotiation_id>/agents/<agent>": Scope.WORKLOADS_READ,
            "POST /api/v1/negotiations/<negotiation_id>/agents/<agent>/messages": Scope.WORKLOADS_WRITE,
            "GET /.well-known/agent-card.json": Without.PUBLIC,
            "POST /a2a": Scope.WORKLOADS_WRITE,
            "GET /dashboard/": Scope.GRID_READ,
            "GET /dashboard/regions/<int:region_id>": Scope.GRID_READ,
            "GET /dashboard/data-centres": Scope.GRID_READ,
            "GET /dashboard/data-centres/<dc_id>": Scope.WORKLOADS_READ,
            "GET /dashboard/workloads": Scope.WORKLOADS_READ,
            "GET /dashboard/workloads/new": Scope.PLANS_RUN,
            "GET /dashboard/negotiations": Scope.WORKLOADS_READ,
            "GET /dashboard/negotiations/<negotiation_id>": Scope.WORKLOADS_READ,
            "GET /dashboard/workloads/<job_id>": Scope.WORKLOADS_READ,
            "GET /dashboard/decisions": Scope.DECISIONS_READ,
            "GET /dashboard/decisions/<decision_id>": Scope.DECISIONS_READ,
            "GET /dashboard/orders": Scope.WORKLOADS_READ,
            "GET /dashboard/orders/<order_id>": Scope.WORKLOADS_READ,
            "GET /dashboard/plan": Scope.PLANS_RUN,
            "GET /dashboard/backtest": Scope.PLANS_RUN,
            "GET /dashboard/operations": Scope.PLATFORM_READ,
            "GET /dashboard/keys": Scope.KEYS_MANAGE,
            "GET /dashboard/audit": Scope.AUDIT_READ,
            "GET /dashboard/flexibility": Scope.WORKLOADS_READ,
            "GET /dashboard/flexibility/<event_id>": Scope.WORKLOADS_READ,
            "GET /dashboard/savings": Scope.WORKLOADS_READ,
            "GET /dashboard/static/<digest>/<name>": Without.PUBLIC,
            "GET /dashboard/sign-in": Without.PUBLIC,
            "POST /dashboard/sign-in": Without.PUBLIC,
            "POST /dashboard/sign-out": Without.PUBLIC,
            "GET /api/v1/tenancy/keys": Scope.KEYS_MANAGE,
            "POST /api/v1/tenancy/keys": Scope.KEYS_MANAGE,
            "POST /api/v1/tenancy/keys/<key_id>/roll": Scope.KEYS_MANAGE,
            "POST /api/v1/tenancy/keys/<key_id>/revoke": Scope.KEYS_MANAGE,
            "GET /api/v1/tenancy/members": Scope.MEMBERS_MANAGE,
            "POST /api/v1/tenancy/members": Scope.MEMBERS_MANAGE,
            "POST /api/v1/tenancy/members/remove": Scope.MEMBERS_MANAGE,
            "GET /api/v1/tenancy/service-accounts": Scope.MEMBERS_MANAGE,
            "POST /api/v1/tenancy/service-accounts": Scope.MEMBERS_MANAGE,
            "POST /api/v1/tenancy/service-accounts/<service_account_id>/disable": Scope.MEMBERS_MANAGE,
            "GET /api/v1/tenancy/operator": Scope.WORLD_READ,
            "POST /api/v1/tenancy/operator": Scope.OPERATOR_MANAGE,
            "GET /api/v1/tenancy/operators": Scope.PLATFORM_READ,
            "POST /api/v1/tenancy/operators": Scope.PLATFORM_WRITE,
            "GET /api/v1/tenancy/limits": Scope.WORLD_READ,
            "POST /api/v1/tenancy/limits": Scope.PLATFORM_WRITE,
            "GET /api/v1/tenancy/audit-events": Scope.AUDIT_READ,
        },
        Server.GATEWAY: {
            **_EVERY_SERVER,
            "GET /beckn/catalog": Scope.WORKLOADS_READ,
            # Who is listening may be said in a message: a page in a browser cannot set a header.
            "GET /stream": Without.PUBLIC,
            "GET /asyncapi.json": Without.PUBLIC,
            "GET /beckn/broadcast": Scope.DECISIONS_READ,
            "GET /beckn/broadcast/poll": Scope.DECISIONS_READ,
            "POST /beckn/broadcast/ticket": Scope.DECISIONS_READ,
            "GET /beckn/context": Scope.DECISIONS_READ,
            "POST /beckn/context/processed": Scope.DECISIONS_ACKNOWLEDGE,
            "GET /beckn/llm-output": Scope.DECISIONS_READ,
            "GET /beckn/llm-output/history": Scope.DECISIONS_READ,
            "GET /beckn/llm-output/<task_id>/task": Scope.DECISIONS_READ,
            "GET /beckn/llm-output/<task_id>/data-centres/<dc_id>": Scope.DECISIONS_READ,
            "POST /beckn/llm-output/acknowledge": Scope.DECISIONS_ACKNOWLEDGE,
            "GET /queue/dead": Scope.PLATFORM_READ,
            "GET /queue/dead/own": Scope.WORKLOADS_READ,
            "POST /queue/dead/requeue": Scope.PLATFORM_WRITE,
            "POST /beckn/search": Without.SIGNED,
            "POST /beckn/on_search": Without.SIGNED,
            "GET /beckn/dead-letters": Scope.PLATFORM_READ,
            "GET /beckn/dead-letters/own": Scope.WORKLOADS_READ,
            "POST /registry/lookup": Without.SIGNED,
        },
        Server.PROVIDER: {
            **_EVERY_SERVER,
            "POST /beckn/search": Without.SIGNED,
            "POST /beckn/select": Without.SIGNED,
            "POST /beckn/init": Without.SIGNED,
            "POST /beckn/confirm": Without.SIGNED,
            "POST /beckn/status": Without.SIGNED,
            "POST /beckn/update": Without.SIGNED,
            "POST /beckn/cancel": Without.SIGNED,
            "GET /beckn/dead-letters": Scope.PLATFORM_READ,
        },
    }
)


def role_within(role: Role, scopes: frozenset[Scope]) -> Role:
    """The least role that allows all that `scopes` and `role` both allow."""
    allowed = scopes & ROLE_SCOPES[role]
    return next(each for each in Role if allowed <= ROLE_SCOPES[each])
