"""PyPI's openadr3: program, subscription, event, report, and each change heard by webhook.

with_openadr3.py URL BL_ID BL_SECRET VEN_ID VEN_SECRET START
"""

from __future__ import annotations

import sys
from typing import Any

from openadr3 import coerce_notification
from openadr3.api import OpenADRClient
from receiver import Heard, receiving


def main(url: str, bl_id: str, bl_secret: str, ven_id: str, ven_secret: str, start: str) -> None:
    """All that is asked of the server; the first thing that is not as it should be ends it."""
    bl, ven = OpenADRClient(url), OpenADRClient(url)
    bl.fetch_token(bl_id, bl_secret)
    ven.fetch_token(ven_id, ven_secret)
    assert ven.get_notifiers().json() == {"WEBHOOK": True}
    with receiving() as heard:
        program = created(bl.create_program({"programName": "by openadr3"}))
        subscribed = created(ven.create_subscription(wish(heard, "ven")))
        created(bl.create_subscription(wish(heard, "bl", "REPORT")))
        assert [one.client_name for one in ven.subscriptions()] == ["ven"]
        assert ven.subscription(subscribed["id"]).object_operations[0].callback_url == heard.url

        event = created(bl.create_event(reduction(program["id"], start)))
        told = coerce_notification(heard.next("ven"))
        assert (told.object_type, told.operation, told.object.id) == ("EVENT", "CREATE", event["id"])
        assert told.object == ven.event(event["id"])

        report = created(ven.create_report({"eventID": event["id"], "clientName": "ven", "resources": []}))
        told = coerce_notification(heard.next("bl"))
        assert (told.object_type, told.operation, told.object.id) == ("REPORT", "CREATE", report["id"])
        assert [one.id for one in bl.reports(eventID=event["id"])] == [report["id"]]

        assert bl.delete_event(event["id"]).status_code == 200
        ended = {(one["objectType"], one["operation"]) for one in (heard.next_of_any(), heard.next_of_any())}
        assert ended == {("EVENT", "DELETE"), ("REPORT", "DELETE")}, ended
        assert ven.delete_subscription(subscribed["id"]).status_code == 200
    print("program, event, report and webhook:", program["id"], event["id"], report["id"])


def wish(heard: Heard, name: str, *objects: str) -> dict[str, Any]:
    """A subscription to events, or to something else."""
    return {
        "clientName": name,
        "objectOperations": [
            {
                "objects": list(objects or ("EVENT",)),
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "callbackUrl": heard.url,
                "bearerToken": name,
            }
        ],
    }


def reduction(program_id: str, start: str) -> dict[str, Any]:
    """Less load by 2 MW, for half an hour."""
    return {
        "programID": program_id,
        "eventName": "less",
        "intervalPeriod": {"start": start, "duration": "PT30M"},
        "payloadDescriptors": [{"payloadType": "DISPATCH_SETPOINT_RELATIVE", "units": "KW"}],
        "intervals": [{"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-2000]}]}],
    }


def created(answer: Any) -> dict[str, Any]:
    """What was stored."""
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


if __name__ == "__main__":
    main(*sys.argv[1:])
