"""What two tenants have, planted so that any of it is known again wherever it turns up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from beckn.buying.platform import Buyer
from clock import utc_now
from grid.half_hours import UTC, from_rfc3339
from grid_world import data_centre, store_data_centres, store_grid
from served import Client
from tenancy.scopes import Role, Server
from tenant_purchases import PROVIDER, Bought, buy
from tenant_servers import TenantServers
from tenant_settings import PLATFORM_KEY, bearer, made_key
from token_issuer import token
from two_operators import MEMBERS, A, B, make_operators

SECRETS = {A: "qzprivatea", B: "qzprivateb"}
"""A word in everything private of each operator, and in nothing else."""

GPU_MINUTES = {A: 713.257, B: 415.373}  # which no time of day contains
"""A number in everything private that has numbers."""

SHARED_JOB = "a-job-id-that-both-have"
DATA_CENTRES = ("DC-001", "DC-002")
NEVER_PLACED: dict[str, Any] = {"required_gpu_mins": 3, "carbon_cap_gco2": 0}
"""Of a workload that is decided and goes nowhere, so that nothing begins, and says so, while answers are compared."""

PATIENCE_S = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ids:
    """Whatever names something of a tenant, or nothing at all: then all are made up, of the same length."""

    operator: str
    job: str
    dead_job: str
    asset: str
    agent: str
    state: str
    decision: str
    booking: str
    key: str
    account: str
    consumer: str
    notification: int
    newest: int
    user: str
    etag: str
    bought: Bought
    order_job: str
    place: str
    """Of the newest order, in the list of orders."""
    ticket: str
    """Of a stream, and used."""

    def absent(self) -> Ids:
        """Names of the same kinds, of nothing that there is; beside these in any order: some are places in one."""
        return Ids(
            operator="op-z",
            job=_beside(self.job),
            dead_job=_beside(self.dead_job),
            asset=_beside(self.asset),
            agent=_beside(self.agent),
            state=str(int(self.state) + 700_000),
            decision=_beside(self.decision),
            booking=_beside(self.booking),
            key=_beside(self.key),
            account=_beside(self.account),
            consumer=_beside(self.consumer),
            notification=self.notification + 700_000,
            newest=self.newest + 700_000,
            user=_beside(self.user),
            etag=self.etag.replace("-", "-0")[:-2] + '"',
            bought=self.bought.absent(),
            order_job=_beside(self.order_job),
            place=_beside(self.place),
            ticket=_beside(self.ticket),
        )


def _beside(name: str) -> str:
    """Another hexadecimal digit, letter or number at the end."""
    return name[:-1] + ("b" if name[-1] != "b" else "c")


def grow_tenants(servers: TenantServers) -> dict[str, dict[str, str]]:
    """Make operators A and B, with no limit in their way; the headers of whoever may call, by who it is."""
    service = servers.service
    make_operators(service)
    for operator in (A, B):
        for limit in ("requests_per_minute", "workloads_per_hour"):
            service.call("tenancy_set_limit", {"p_operator": operator, "p_name": limit, "p_capacity": 1_000_000})
    centres = [data_centre(number, operator=(A, B)[number - 1]) for number in (1, 2)]
    store_grid(service, utc_now())
    store_data_centres(service, centres, utc_now())
    keys = {name: made_key(service, operator, role)[0] for name, (operator, role) in _KEYS.items()}
    revoked, expired = (made_key(service, A, Role.ADMIN)[0] for _ in range(2))
    service.call("tenancy_revoke_key", {"p_operator": A, "p_key_id": revoked.key_id})
    with psycopg.connect(servers.conninfo, autocommit=True) as owner:
        # Far from the numbers of events, of which some come by themselves.
        owner.execute("select setval(pg_get_serial_sequence('workload_notifications', 'notification_id'), 500)")
        owner.execute(
            "update tenancy.api_keys set created_at = now() - interval '2 hours',"
            " expires_at = now() - interval '1 hour' where key_id = %s",
            [expired.key_id],
        )
    of_b: dict[str, Any] = {"sub": MEMBERS[B, "admin"], "app_metadata": {"operator_id": B}}
    ended: dict[str, Any] = {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
    of_a: dict[str, Any] = {"sub": MEMBERS[A, "admin"], "app_metadata": {"operator_id": A}}
    return {
        **{name: bearer(key.text) for name, key in keys.items()},
        "B with a token": bearer(token(servers.signing_key, **of_b)),
        "B for A": bearer(keys["B"].text, A),
        "B with a token for A": bearer(token(servers.signing_key, **of_b), A),
        "a revoked key of A": bearer(revoked.text),
        "an expired key of A": bearer(expired.text),
        "an expired token of A": bearer(token(servers.signing_key, **of_a, **ended)),
        "nobody": {},
        "platform": bearer(PLATFORM_KEY),
    }


_KEYS = {"A": (A, Role.ADMIN), "B": (B, Role.ADMIN), "reader of B": (B, Role.READER)}


def plant(servers: TenantServers, operator: str, headers: Mapping[str, str], buyer: Buyer, *, jobs: int) -> Ids:
    """Give an operator some of everything, and wait until its workloads are decided.

    Args:
        headers: of its administrator.
        buyer: its platform, which orders of the operator itself: nobody else's is any of it.
        jobs: how many workloads it submits, besides the one whose job_id both have.
    """
    api, gateway = servers.client(Server.API), servers.client(Server.GATEWAY)
    secret = SECRETS[operator]
    names = [f"{secret}-job-{number}" for number in range(jobs)]
    workloads = [
        {
            "job_id": name,
            "workload_type": "RAG_QUERY",
            "urgency": "HIGH",
            **NEVER_PLACED,
            "required_gpu_mins": GPU_MINUTES[operator],
            "deadline": (utc_now() + timedelta(days=6)).isoformat(),
        }
        for name in [*names, SHARED_JOB]
    ]
    _done(api.post("/api/v1/workloads", workloads, headers=headers), 201)
    key = _done(api.post("/api/v1/tenancy/keys", {"name": f"{secret}-key"}, headers=headers), 201).json()["entry"]
    _plant_rows(servers, operator, secret, jobs)
    _wait_until_decided(gateway, headers, len(workloads))
    consumer = f"{secret}-consumer"
    acknowledged = {"task_id": names[0], "consumer": consumer}
    _done(gateway.post("/beckn/llm-output/acknowledge", acknowledged, headers=headers), 200)
    _done(gateway.post("/beckn/context/processed", acknowledged, headers=headers), 200)
    polled = _done(gateway.get("/beckn/llm-output", headers=headers), 200)
    provider_url = f"http://127.0.0.1:{servers.ports[Server.PROVIDER]}/beckn"
    bought = buy(buyer, provider_url, operator, secret=secret, gpu_minutes=GPU_MINUTES[operator])
    ticket = _done(gateway.post("/beckn/broadcast/ticket", {}, headers=headers), 201).json()["ticket"]
    with gateway.request("GET", f"/beckn/broadcast?ticket={ticket}", stream=True) as stream:
        _done(stream, 200)
    (order,) = _done(api.get("/api/v1/market/orders", headers=headers), 200).json()["orders"]
    created_at = from_rfc3339(order["created_at"])
    return Ids(
        operator=operator,
        job=names[0],
        dead_job=f"{secret}-dead",
        asset=f"{secret}-asset",
        agent=f"{secret}-agent",
        state=_id_of(api, headers, f"AgentState?agent_id={secret}-agent&limit=100"),
        decision=_id_of(api, headers, f"OrchestrationDecision?job_id={names[0]}"),
        booking=_id_of(api, headers, f"CapacityBooking?job_id={order['job_id']}"),
        key=key["key_id"],
        account=key["user_id"].removeprefix("svc:"),
        consumer=consumer,
        notification=_one(servers, "select notification_id from workload_notifications where job_id = %s", names[0]),
        newest=_done(gateway.get("/beckn/broadcast/poll", headers=headers), 200).json()["newest"],
        user=MEMBERS[operator, "admin"],
        etag=polled.headers["ETag"],
        bought=bought,
        order_job=order["job_id"],
        place=f"{(created_at - EPOCH) // timedelta(microseconds=1)}-{bought.order_id}",
        ticket=ticket,
    )


def _plant_rows(servers: TenantServers, operator: str, secret: str, jobs: int) -> None:
    """What has no endpoint of its own."""
    # One by one, as programs write them: the servers write agents' states and events meanwhile.
    with psycopg.connect(servers.conninfo, autocommit=True) as owner:
        owner.execute(
            "insert into storage_assets (asset_id, name, operator, region_id, capacity_mwh, power_mw,"
            " state_of_charge_percentage) values (%s, %s, %s, 1, %s, 10, 50)",
            [f"{secret}-asset", f"{secret} battery", operator, GPU_MINUTES[operator]],
        )
        owner.execute(
            "insert into agents (agent_id, name, agent_type, operator, version) values (%s, %s, 'trainer', %s, %s)",
            [f"{secret}-agent", f"{secret} agent", operator, f"{secret}-version"],
        )
        for state in ["STARTED", *["BUSY"] * jobs, "IDLE"]:
            owner.execute(
                "insert into agent_states (agent_id, state, detail) values (%s, %s, %s)",
                [f"{secret}-agent", state, f"{secret}-detail"],
            )
    # In one transaction, so that no gateway finds it before it is given up.
    with psycopg.connect(servers.conninfo) as owner:
        owner.execute(
            "insert into compute_workloads (job_id, operator, workload_type) values (%s, %s, 'OTHER')",
            [f"{secret}-dead", operator],
        )
        owner.execute(
            "update workload_notifications set work_state = 'discarded', last_error = %s, attempt = 5,"
            " finished_at = now() where job_id = %s",
            [f"{secret}-error", f"{secret}-dead"],
        )
        # Answers of the provider that its platform did not take, what it sent that could not be worked on, and a
        # message of its own that nobody took.
        network = {"platform": f"bap.{operator}.example", "provider": PROVIDER, "error": f"{secret}-unheard"}
        owner.execute(
            "insert into beckn_outbox (sender, origin, recipient, recipient_type, action, domain, transaction_id,"
            " message_id, work_state, last_error, expires_at, finished_at) values (%(provider)s, %(provider)s,"
            " %(platform)s, 'BAP', 'on_status', 'domain', gen_random_uuid(), gen_random_uuid(), 'discarded',"
            " %(error)s, now(), now())",
            network,
        )
        owner.execute(
            "insert into beckn_inbox (recipient, sender, action, transaction_id, message_id, answer, work_state,"
            " last_error, finished_at) values (%(provider)s, %(platform)s, 'status', gen_random_uuid(),"
            " gen_random_uuid(), '{}', 'discarded', %(error)s, now())",
            network,
        )
        owner.execute(
            "insert into beckn_outbox (sender, origin, recipient, recipient_type, action, domain, transaction_id,"
            " message_id, work_state, last_error, expires_at, finished_at) values (%(platform)s, %(platform)s,"
            " %(provider)s, 'BPP', 'status', 'domain', gen_random_uuid(), gen_random_uuid(), 'discarded', %(error)s,"
            " now(), now())",
            network,
        )
    events = [
        {"action": f"{secret}-action", "outcome": "refused", "operator_id": operator, "detail": {"why": secret}}
    ]
    with psycopg.connect(servers.conninfo, autocommit=True) as owner:
        owner.execute("select public.tenancy_audit(%s)", [Jsonb(events)])


def _wait_until_decided(gateway: Client, headers: Mapping[str, str], count: int) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        page = _done(gateway.get("/beckn/broadcast/poll", headers=headers), 200).json()
        if len(page["events"]) >= count:  # its newest number counts what happens to the grid as well
            return
        assert time.monotonic() < give_up_at, page
        time.sleep(0.05)


def _id_of(api: Client, headers: Mapping[str, str], asked: str) -> str:
    page = _done(api.get(f"/api/v1/objects/{asked}", headers=headers), 200).json()
    return str(page["objects"][-1]["id"])


def _one(servers: TenantServers, statement: str, argument: str) -> Any:
    with psycopg.connect(servers.conninfo) as owner:
        row = owner.execute(statement.encode(), [argument]).fetchone()
    assert row is not None
    return row[0]


def _done(answer: Any, status: int) -> Any:
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer
