"""The pages of orders: all of them, and one with its Beckn transaction as a picture."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from flask import Blueprint, Response
from pydantic import ValidationError

from api.purchases import Order, OrderPage, PurchasesQuery, read_order, read_orders
from api.workloads import WorkloadRow, read_workload
from beckn.provider.stored_orders import CancellationRecord, Deferral, OrderTerms, read_stored
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.transaction_picture import draw_transaction, transaction_messages
from dashboard.workloads import centre_names, faults_of
from database.interface import Database
from web.problems import Problem

ROWS_A_PAGE = 50

Part = TypeVar("Part", OrderTerms, Deferral, CancellationRecord)


def order_pages(dashboard: Blueprint, pages: Pages, database: Database) -> None:
    """`/dashboard/orders` and `/dashboard/orders/<order_id>`"""

    @dashboard.get("/orders")
    def orders() -> Response:
        given = given_values()
        page, faults = _read(database, given)
        return pages.page(
            "orders.html",
            "orders",
            "Orders",
            json=JsonLink(f"/api/v1/market/orders?limit={ROWS_A_PAGE}"),
            page=page,
            faults=faults,
            centres=centre_names(database),
            is_later_page="after" in given and not faults,
            following=following("dashboard.orders", page.next),
        )

    @dashboard.get("/orders/<order_id>")
    def order(order_id: str) -> Response:
        story = read_order(database, _identity(order_id))
        found = story.order
        messages = transaction_messages(story)
        return pages.page(
            "order.html",
            "orders",
            f"Order of {found.job_id}",
            json=JsonLink(f"/api/v1/market/orders/{found.order_id}"),
            order=found,
            quoted_at=story.quoted_at,
            terms=_part(OrderTerms, found.terms),
            deferral=_part(Deferral, found.deferral),
            cancellation=_part(CancellationRecord, found.cancellation),
            messages=messages,
            picture=draw_transaction(messages, found.bap_id, found.bpp_id),
            run=_run_of(database, found),
            centres=centre_names(database),
        )


def _read(database: Database, given: dict[str, str]) -> tuple[OrderPage, dict[str, str]]:
    """The orders that were asked for; the newest, and what is wrong, where there are none such."""
    try:
        return read_orders(database, PurchasesQuery.model_validate({"limit": ROWS_A_PAGE, **given})), {}
    except ValidationError as error:
        return read_orders(database, PurchasesQuery(limit=ROWS_A_PAGE)), faults_of(error)


def _identity(order_id: str) -> UUID:
    try:
        return UUID(order_id)
    except ValueError:
        raise Problem(404, f"there is no order {order_id!r}: GET /api/v1/market/orders lists them") from None


def _part(model: type[Part], stored: dict[str, Any] | None) -> Part | None:
    """What was agreed or changed; None where there is nothing, or what another version of the platform wrote."""
    try:
        return None if stored is None else read_stored(model, stored)
    except ValidationError:
        return None


def _run_of(database: Database, order: Order) -> WorkloadRow | None:
    """The order's workload with what it used; None where it is the other side's."""
    try:
        return read_workload(database, order.job_id)
    except Problem:
        return None
