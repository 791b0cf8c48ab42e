"""The virtual top node: all of its endpoints, put together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from database.interface import Calls
from openadr.book import ObjectBook, client_of
from openadr.endpoints.authorization import authorization_endpoints
from openadr.endpoints.events import event_endpoints
from openadr.endpoints.programs import program_endpoints
from openadr.endpoints.reports import report_endpoints
from openadr.endpoints.resources import resource_endpoints
from openadr.endpoints.subscriptions import notifier_endpoints, subscription_endpoints
from openadr.endpoints.vens import ven_endpoints
from openadr.objects import ObjectType
from tenancy.access import Access
from tenancy.guard import calling
from web.api_blueprint import APIBlueprint


def vtn_endpoints(
    database: Calls, access: Access, clock: Callable[[], datetime], *, public_url: str | None = None
) -> list[APIBlueprint]:
    """`/openadr3/3.1.0/…`; `database` is as the caller of a request has it.

    Args:
        public_url: where others reach this server; by default as the request has it.
    """

    def book(object_type: ObjectType) -> ObjectBook:
        return ObjectBook(database, object_type, lambda: client_of(calling()), clock)

    return [
        authorization_endpoints(access, public_url),
        program_endpoints(book(ObjectType.PROGRAM)),
        event_endpoints(book(ObjectType.EVENT), clock),
        report_endpoints(book(ObjectType.REPORT)),
        ven_endpoints(book(ObjectType.VEN)),
        resource_endpoints(book(ObjectType.RESOURCE)),
        subscription_endpoints(book(ObjectType.SUBSCRIPTION)),
        notifier_endpoints(),
    ]
