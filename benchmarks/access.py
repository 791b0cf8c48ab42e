"""What does it cost to know who is calling? A token, a key that is remembered or not, and a whole request.

    make bench NAME=access [ARGS="--times 3000"]

Over the embedded database, through the session that requests of tenants have (`pylon_gate`). `nothing asked` is the
same small endpoint on a server with nothing configured; all are called in this process, without a network between.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Response
from gateways import percentile, world
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from machine import machine
from werkzeug.test import create_environ, run_wsgi_app

from database.interface import Database
from database.opening import open_gate
from settings import load_settings
from tenancy.access import Access
from tenancy.administration import Keys, NewKey, PlatformFunctions
from tenancy.identification import Identification, NotIdentified
from tenancy.keys import mint_key
from tenancy.limits import OperatorLimits
from tenancy.records import AccessRecords
from tenancy.scopes import Need, Role, Scope
from tenancy.signing_keys import KeySet, read_key_set
from tenancy.tokens import Tokens
from web.application import make_application

ISSUER, AUDIENCE = "https://issuer.example/auth/v1", "authenticated"
OPERATOR, USER = "bench", "0f6a5d3e-6f0b-4f57-9a43-2c5f7e6c9d11"
NEEDS: dict[str, Need] = {"GET /things/<name>": Scope.GRID_READ}
WARM_UP = 100


class _Listed:
    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def find(self, key_id: str) -> jwt.PyJWK | None:
        return self._keys.get(key_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3000)
    options = parser.parse_args()
    with world() as service:
        os.environ["TENANCY"] = "multi"
        gate = open_gate(load_settings(), service)
        try:
            rows = _measured(service, gate, options.times)
        finally:
            gate.close()
    print(f"{machine()}; {options.times} times each\n")
    print("| who is calling | p50, ms | p90, ms | p99, ms |")
    print("|---|---|---|---|")
    for name, times_ms in rows.items():
        print(f"| {name} | " + " | ".join(f"{percentile(times_ms, of):.3f}" for of in (0.5, 0.9, 0.99)) + " |")


def _measured(service: Database, gate: Database, times: int) -> dict[str, list[float]]:
    service.call("tenancy_set_operator", {"p_operator": {"operator_id": OPERATOR}})
    service.call("tenancy_set_member", {"p_operator": OPERATOR, "p_user_id": USER, "p_role": "member"})
    for limit in ("requests_per_minute", "keys"):
        service.call("tenancy_set_limit", {"p_operator": OPERATOR, "p_name": limit, "p_capacity": 10**9})
    keys = Keys(PlatformFunctions(service, OPERATOR, "bench"), OPERATOR, frozenset(Scope))
    expires_at = datetime.now(timezone.utc) + timedelta(days=1)
    key, _ = keys.make(NewKey(name="bench", role=Role.MEMBER, expires_at=expires_at))
    listed, tokens = _signed(times + WARM_UP)
    known = Identification(
        AccessRecords(gate),
        lambda: datetime.now(timezone.utc),
        platform_key=None,
        tokens=Tokens(ISSUER, AUDIENCE, _Listed(read_key_set(listed))),
        takes_keys=True,
    )
    seen = tokens["ES256"].pop()
    wrong = mint_key().text[:-1] + "!"
    limits = OperatorLimits(gate)
    open_server, guarded = _server({}, service, gate), _server({"TENANCY": "multi"}, service, gate)
    return {
        "a token not seen before, ES256": _times(lambda: known.principal(tokens["ES256"].pop(), None), times),
        "a token not seen before, RS256": _times(lambda: known.principal(tokens["RS256"].pop(), None), times),
        "a token seen before": _times(lambda: known.principal(seen, None), times),
        "a key that is remembered": _times(lambda: known.principal(key.text, None), times),
        "a key that is looked up": _times(lambda: _looked_up(known, key.text), times),
        "a mistyped key": _times(lambda: _refused(known, wrong), times),
        "counting a request": _times(lambda: limits.take_request(OPERATOR), times),
        "counting a workload": _times(lambda: gate.call("tenancy_take", _AMOUNT), times),
        "a request, nothing asked": _times(lambda: _asked(open_server, None), times),
        "a request with a remembered key": _times(lambda: _asked(guarded, key.text), times),
    }


_AMOUNT = {"p_operator": OPERATOR, "p_limit": "requests_per_minute", "p_amount": 1}


def _signed(many: int) -> tuple[bytes, dict[str, list[str]]]:
    """A key set, and one more than so many different tokens signed with each of its keys."""
    elliptic = ec.generate_private_key(ec.SECP256R1())
    classic = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": USER,
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,
        "app_metadata": {"operator_id": OPERATOR},
    }
    listed = [
        {**ECAlgorithm.to_jwk(elliptic.public_key(), as_dict=True), "kid": "ES256"},
        {**RSAAlgorithm.to_jwk(classic.public_key(), as_dict=True), "kid": "RS256"},
    ]
    numbered = [{**claims, "jti": str(number)} for number in range(many + 1)]
    tokens = {
        "ES256": [jwt.encode(each, elliptic, "ES256", headers={"kid": "ES256"}) for each in numbered],
        "RS256": [jwt.encode(each, classic, "RS256", headers={"kid": "RS256"}) for each in numbered],
    }
    return json.dumps({"keys": listed}).encode(), tokens


def _server(settings: dict[str, str], service: Database, gate: Database) -> Any:
    access = Access(load_settings(settings), NEEDS, service, host="127.0.0.1", door=gate)
    app = make_application("bench", "", "0", asks_for=access.asks_for())
    app.add_url_rule("/things/<name>", "things", lambda name: Response(name))
    access.guard(app)
    return app.wsgi_app


def _asked(application: Any, credential: str | None) -> None:
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    _, status, _ = run_wsgi_app(application, create_environ("/things/x", headers=headers))
    if not status.startswith("200"):
        raise RuntimeError(status)


def _looked_up(known: Identification, credential: str) -> None:
    known.forget()
    known.principal(credential, None)


def _refused(known: Identification, credential: str) -> None:
    try:
        known.principal(credential, None)
    except NotIdentified:
        return
    raise RuntimeError("a mistyped key was taken")


def _times(ask: Callable[[], object], times: int) -> list[float]:
    for _ in range(WARM_UP):
        ask()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    main()
