"""PyPI's openadr3-client: program, subscription, event, report, and each change heard by webhook. It needs 3.12.

with_openadr3_client.py URL BL_ID BL_SECRET VEN_ID VEN_SECRET START
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from typing import Any

from openadr3_client._models.common.interval import Interval
from openadr3_client._models.common.interval_period import IntervalPeriod
from openadr3_client.bl.http_factory import BusinessLogicHttpClientFactory
from openadr3_client.oadr310.models.event.event import NewEvent
from openadr3_client.oadr310.models.event.event_payload import EventPayload, EventPayloadType
from openadr3_client.oadr310.models.program.program import NewProgram
from openadr3_client.oadr310.models.report.report import NewReport, ReportResource
from openadr3_client.oadr310.models.report.report_payload import ReportPayload, ReportPayloadType
from openadr3_client.oadr310.models.subscriptions.subscription import (
    NewSubscription,
    Object,
    ObjectOperation,
    Operation,
    SubscriptionUpdate,
)
from openadr3_client.oadr310.models.ven.ven import NewVenVenRequest
from openadr3_client.ven.http_factory import VirtualEndNodeHttpClientFactory
from openadr3_client.version import OADRVersion
from receiver import Heard, receiving


def main(url: str, bl_id: str, bl_secret: str, ven_id: str, ven_secret: str, start: str) -> None:
    """All that is asked of the server; the first thing that is not as it should be ends it."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    how: dict[str, Any] = {"allow_insecure_http": True, "version": OADRVersion.OADR_310}
    bl = BusinessLogicHttpClientFactory.create_http_bl_client(url, bl_id, bl_secret, **how)
    ven = VirtualEndNodeHttpClientFactory.create_http_ven_client(url, ven_id, ven_secret, **how)
    with receiving() as heard:
        program = bl.programs.create_program(NewProgram(program_name="by openadr3-client"))
        assert ven.vens.create_ven(NewVenVenRequest(ven_name="site")).client_id
        subscribed = ven.subscriptions.create_subscription(
            NewSubscription(client_name="ven", object_operations=operations(heard, "ven", Object.EVENT))
        )
        # Its business logic may read subscriptions alone.
        watching = ven.subscriptions.create_subscription(
            NewSubscription(client_name="site", object_operations=operations(heard, "site", Object.EVENT))
        )
        ven.subscriptions.update_subscription_by_id(
            watching.id,
            SubscriptionUpdate(
                client_name="site",
                program_id=program.id,
                object_operations=operations(heard, "site", Object.REPORT),
            ),
        )
        assert {one.id for one in bl.subscriptions.get_subscriptions(None, None, None, None)} == {
            subscribed.id,
            watching.id,
        }
        assert [one.id for one in ven.subscriptions.get_subscriptions(None, None, "ven", None)] == [subscribed.id]

        event = bl.events.create_event(
            NewEvent(
                programID=program.id,
                event_name="less",
                interval_period=IntervalPeriod(start=datetime.fromisoformat(start), duration=timedelta(minutes=30)),
                intervals=(
                    Interval(
                        id=0,
                        payloads=(EventPayload(type=EventPayloadType.DISPATCH_SETPOINT_RELATIVE, values=(-2000.0,)),),
                    ),
                ),
            )
        )
        told = heard.next("ven")
        assert (told["objectType"], told["operation"], told["object"]["id"]) == ("EVENT", "POST", event.id)
        assert ven.events.get_event_by_id(event.id).event_name == told["object"]["eventName"]

        used = Interval(id=0, payloads=(ReportPayload(type=ReportPayloadType.USAGE, values=(1.5,)),))
        report = ven.reports.create_report(
            NewReport(
                eventID=event.id,
                client_name="site",
                resources=(ReportResource(resource_name="meter", intervals=(used,)),),
            )
        )
        told = heard.next("site")
        assert (told["objectType"], told["operation"], told["object"]["id"]) == ("REPORT", "POST", report.id)
        assert bl.reports.get_report_by_id(report.id).client_name == "site"

        assert ven.subscriptions.delete_subscription_by_id(subscribed.id).id == subscribed.id
    print("program, event, report and webhook:", program.id, event.id, report.id)


def operations(heard: Heard, token: str, about: Object) -> tuple[ObjectOperation, ...]:
    """Everything that happens to one kind of object."""
    all_of_them = (Operation.POST, Operation.PUT, Operation.DELETE)
    return (ObjectOperation(objects=(about,), operations=all_of_them, callback_url=heard.url, bearer_token=token),)


if __name__ == "__main__":
    main(*sys.argv[1:])
