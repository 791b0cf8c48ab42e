"""The commands of docs/flexibility.md as they are pasted: an event by hand, through all its states."""

from __future__ import annotations

import json
from datetime import timedelta

from api_application import create_app
from beckn_orders import Clock, store_market
from database.postgres import PostgresDatabase
from flexibility_world import carry_on
from grid.half_hours import from_rfc3339
from pasted_commands import paste, shell_blocks
from running_gateway import workers_on
from served import served
from settings import load_settings

UNTIL_DECIDED = """sleep() { until curl -s $API/workloads/may-wait-1 | grep -q '"status":"QUEUED"'; do :; done; }
"""
"""For who would wait by the clock."""


def test_an_event_by_hand_runs_through_all_states_as_pasted(postgres: PostgresDatabase) -> None:
    (block,) = shell_blocks("flexibility.md")
    *announcing, life_of_it, units, cancel = block.strip().splitlines()
    clock = Clock()
    store_market(postgres, clock())
    workers = workers_on(postgres, clock=clock)
    with served(create_app(postgres, load_settings({}), clock=clock)) as api:
        shown = paste("\n".join(announcing), api.url, meanwhile=workers.work_once, before=UNTIL_DECIDED)
        (event,) = api.get("/api/v1/flexibility/events").json()["events"]
        assert (event["source_id"], event["state"]) == ("by-hand-1", "ANNOUNCED"), shown
        assert event["event_id"] in shown
        carry_on(postgres, clock())
        clock.ahead = from_rfc3339(event["ends_at"]) - clock()
        assert clock.ahead < timedelta(hours=2, minutes=30), "as the document promises"
        carry_on(postgres, clock())

        life = json.loads(paste(life_of_it.replace("<event_id>", event["event_id"]), api.url))
        assert [one["to_state"] for one in life["decisions"]] == [
            *("ANNOUNCED", "OFFERED", "COMMITTED", "NOTIFIED", "DELIVERED", "SETTLED")
        ]
        assert [move["job_id"] for move in life["moves"]] == ["may-wait-1"]
        assert float(life["settlements"][0]["received_gbp"]) > 0
        assert "V__PYLON" in paste(units, api.url)
        refused = json.loads(paste(cancel.replace("<event_id>", event["event_id"]), api.url))
        assert refused["status"] == 409
