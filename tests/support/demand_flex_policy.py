"""What a contract comes to by an engine for policies that is not ours: PyPI `opa-eval`, over `demand_flex.rego`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opa_eval import OpaEval

_POLICY = OpaEval(str(Path(__file__).with_name("demand_flex.rego")), query="data.pylon.demand_flex.seller")


def seller_receives(message: dict[str, Any]) -> float:
    """In the contract's currency, of a message with what was metered."""
    received: float = json.loads(_POLICY.evaluate(json.dumps(message)))
    return received
