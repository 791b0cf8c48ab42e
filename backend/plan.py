"""Where and when would this workload run? Asks the API server and prints the considered places and the chosen one.

    python backend/plan.py workload.json [--policy carbon] [--at 2026-11-22T18:00:00Z]

The file holds one workload as POST /api/v1/workloads takes it; - reads standard input. Nothing is stored.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from decisions.publishing.rationale import mass, pounds
from decisions.publishing.schema import DataCentreOption, DecisionOutput
from outgoing.calls import Answer, Caller, Limits
from outgoing.failures import CallFailed
from printable import LONGEST_REASON, printable
from settings import Settings, SettingsError, load_settings
from vocabulary import Policy

LIMITS = Limits(connect_s=5, whole_s=30, answer_bytes=16 * 1024 * 1024)
RIGHT_ALIGNED = {"SCORE", "J", "COST", "CO2", "NOW: COST", "NOW: CO2"}


class CannotPlan(Exception):
    """There is no plan to print; the message says why, in a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; returns the exit status: 0, or 1 with a line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", help="a JSON file with one workload, or - for standard input")
    parser.add_argument("--policy", choices=[str(policy) for policy in Policy], default=str(Policy.BALANCED))
    parser.add_argument("--at", metavar="TIME", help="decide as of this moment within the forecast (RFC 3339 UTC)")
    options = parser.parse_args(arguments)
    try:
        workload = _read_workload(options.workload)
        output = _ask(load_settings(), workload, policy=options.policy, at=options.at)
    except (CannotPlan, SettingsError) as error:
        print(f"plan: {printable(error, LONGEST_REASON)}", file=sys.stderr)
        return 1
    print(render(output))
    return 0


def render(output: DecisionOutput) -> str:
    """The plan as text: the workload, a table of the places considered, and the chosen one."""
    decision, task = output.decision, output.task
    workload = decision.workload
    power = f"{workload.it_power_kw:.3g} kW for {_duration(workload.duration_minutes)}"
    lines = [
        f"{task.job_id}: {task.workload_type}, {task.urgency}, {power} "
        f"({workload.it_energy_kwh:.3g} kWh of IT energy, {workload.basis})",
        f"Policy {output.metadata.policy}, £{output.metadata.carbon_price_gbp_per_t:g} per tonne of CO2",
        "",
        "Considered:",
        *_table([_row(option, chosen=option.dc_id == decision.dc_id) for option in output.data_centre_options]),
    ]
    lines += _reasons(output.data_centre_options)
    answer = f"Chosen: {decision.rationale}" if decision.dc_id else f"Not placed: {decision.rationale}"
    lines += ["", answer]
    if decision.binding_constraint:
        violated = "; ".join(violation.message for violation in decision.binding_constraint.violations)
        saving = pounds(decision.binding_constraint.saving_gbp)
        lines.append(f"A run at {decision.binding_constraint.dc_id} would be {saving} better, but {violated}.")
    lines += [f"Note: {warning}" for warning in output.metadata.warnings]
    return "\n".join(printable(line, LONGEST_REASON) for line in lines)


def _read_workload(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise CannotPlan(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CannotPlan(f"{name} is not JSON: {error}") from None


def _ask(settings: Settings, workload: Any, *, policy: str, at: str | None) -> DecisionOutput:
    host = f"[{settings.api_host}]" if ":" in settings.api_host.strip("[]") else settings.api_host
    server = f"http://{host}:{settings.api_port}"
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if settings.pylon_api_key is not None:
        headers["Authorization"] = f"Bearer {settings.pylon_api_key.get_secret_value()}"
    url = f"{server}/api/v1/plan?{urlencode({'policy': policy} | ({'at': at} if at else {}))}"
    caller = Caller(tls=ssl.create_default_context)
    try:
        answer = caller.call("POST", url, limits=LIMITS, headers=headers, body=json.dumps(workload).encode())
    except CallFailed:
        raise CannotPlan(
            f"no API server answers at {server}: start it with python backend/api_server.py, "
            "or set API_HOST and API_PORT"
        ) from None
    if answer.status != HTTPStatus.OK:
        raise CannotPlan(_detail(answer) or f"{server} answered {answer.status}: it is not the API server")
    try:
        return DecisionOutput.model_validate_json(answer.body)
    except ValidationError:
        raise CannotPlan(f"what answers at {server} is not this version's API server") from None


def _detail(answer: Answer) -> str | None:
    try:
        return str(json.loads(answer.body)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _row(option: DataCentreOption, *, chosen: bool) -> dict[str, str]:
    estimates = option.estimates
    now, recommended = estimates.run_now, estimates.recommended
    return {
        "DATA CENTRE": option.dc_id,
        "PLACE": option.location_region,
        "START (UTC)": _start(estimates.recommended_start),
        "COST": pounds(recommended.cost_gbp) if recommended else "-",
        "CO2": mass(recommended.carbon_gco2) if recommended else "-",
        "NOW: COST": pounds(now.cost_gbp) if now else "?",
        "NOW: CO2": mass(now.carbon_gco2) if now else "?",
        "J": pounds(option.objective_gbp) if option.objective_gbp is not None else "?",
        "SCORE": f"{option.suitability_score:.1f}",
        "": "chosen" if chosen else "" if recommended else "not possible",
    }


def _table(rows: Sequence[dict[str, str]]) -> list[str]:
    if not rows:
        return ["  no data centre"]
    titles = list(rows[0])
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) for title in titles}

    def line(cells: dict[str, str]) -> str:
        parts = (
            cells[title].rjust(widths[title]) if title in RIGHT_ALIGNED else cells[title].ljust(widths[title])
            for title in titles
        )
        return ("  " + "  ".join(parts)).rstrip()

    return [line({title: title for title in titles}), *(line(row) for row in rows)]


def _reasons(options: Sequence[DataCentreOption]) -> list[str]:
    return [
        f"  {option.dc_id}: {'; '.join(violation.message for violation in option.constraint_violations)}"
        for option in options
        if option.constraint_violations
    ]


def _start(moment: datetime | None) -> str:
    return f"{moment.astimezone(timezone.utc):%a %d %b %H:%M}" if moment else "-"


def _duration(minutes: float) -> str:
    hours, rest = divmod(round(minutes), 60)
    if not hours:
        return f"{minutes:.3g} min"
    return f"{hours} h {rest:02d} min" if rest else f"{hours} h"


if __name__ == "__main__":
    sys.exit(main())
