"""The pages of whoever looks after an operator: its keys, and what was changed and refused in its name."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import ValidationError

from api.administration import Administration
from api.keys import read_keys
from api.operators import AuditPage, AuditQuery, read_audit_events
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.workloads import faults_of
from tenancy.administration import LONGEST_KEY_DAYS, LONGEST_OVERLAP, USUAL_KEY_DAYS
from tenancy.scopes import Role
from web.problems import Problem

ROWS_A_PAGE = 50
_SECONDS_AN_HOUR = 3600


def access_pages(dashboard: Blueprint, pages: Pages, administration: Administration) -> None:
    """`/dashboard/keys` and `/dashboard/audit`"""

    @dashboard.get("/keys")
    def keys() -> Response:
        found = read_keys(administration)
        return pages.page(
            "keys.html",
            "operations",
            "Keys",
            json=JsonLink("/api/v1/tenancy/keys"),
            operator=found.operator_id,
            keys=found.keys,
            has_tenants=administration.has_tenants,
            roles=[role for role in Role if role is not Role.PLATFORM],
            usual_days=USUAL_KEY_DAYS,
            longest_days=LONGEST_KEY_DAYS,
            longest_overlap_hours=int(LONGEST_OVERLAP.total_seconds()) // _SECONDS_AN_HOUR,
        )

    @dashboard.get("/audit")
    def audit() -> Response:
        given = given_values()
        page, faults = _read(administration, given)
        return pages.page(
            "audit.html",
            "operations",
            "Audit trail",
            json=JsonLink(f"/api/v1/tenancy/audit-events?limit={ROWS_A_PAGE}"),
            page=page,
            faults=faults,
            is_later_page="after" in given and not faults,
            following=following("dashboard.audit", page.next),
        )


def _read(administration: Administration, given: dict[str, str]) -> tuple[AuditPage, dict[str, str]]:
    """The events that were asked for; the newest, and what is wrong, where there are none such."""
    try:
        asked = AuditQuery.model_validate({"limit": ROWS_A_PAGE, **given})
        return read_audit_events(administration, asked), {}
    except ValidationError as error:
        faults = faults_of(error)
    except Problem as problem:
        if problem.status != 422:
            raise
        faults = {"after": problem.detail}
    return read_audit_events(administration, AuditQuery(limit=ROWS_A_PAGE)), faults
