"""The commands of docs/openadr.md as they are pasted: a program, its event, a report, and a webhook that is heard."""

from __future__ import annotations

from api_application import create_app
from beckn_orders import Clock, store_market
from database.postgres import PostgresDatabase
from openadr.webhooks import WebhookSender
from pasted_commands import paste, shell_blocks
from served import served
from server_process import free_port
from settings import load_settings


def test_programs_reports_and_webhooks_are_as_pasted(postgres: PostgresDatabase) -> None:
    written, _, heard = shell_blocks("openadr.md")
    clock = Clock()
    store_market(postgres, clock())
    sender = WebhookSender(postgres, worker="test", private_hosts=["127.0.0.1"])
    with served(create_app(postgres, load_settings({}), clock=clock)) as api:
        shown = paste(written, api.url)
        for part in ('"access_token"', '"eventName":"evening"', '"values":[312.5]', '"objectType":"PROGRAM"'):
            assert part in shown
        (event,) = api.get("/api/v1/flexibility/events").json()["events"]
        assert (event["need_mw"], event["price_gbp_per_mwh"]) == (["2"], ["180"])
        assert event["state"] == "CANCELLED", "its program is deleted in the end"

        address = next(line for line in written.splitlines() if line.startswith("VTN="))
        commands = f"{address}\n{heard}".replace("5077", str(free_port()))
        shown = paste(commands, api.url, meanwhile=sender.work_once)
        assert 'Bearer a-token-of-mine {"objectType":"PROGRAM","operation":"CREATE"' in shown
