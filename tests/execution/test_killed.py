"""A run outlives the process that began it: what an API server has in hand when it is killed, the next one ends."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from api_servers import api_servers
from booked_work import book, the_booking, the_load, the_workload
from clock import utc_now
from database.postgres import PostgresDatabase
from grid_world import data_centre, store_data_centres
from new_database import as_url
from server_process import ServerProcess

NO_WORLD = {"SYNTHETIC_DATA_CENTRES": "0", "SYNTHETIC_WORKLOADS_PER_RUN": "0"}
RUN_S = 15


def kill(server: ServerProcess) -> None:
    """SIGKILL to the serving process and to the one that watches over it."""
    watching = psutil.Process(server.process.pid)
    for process in (watching, *watching.children(recursive=True)):
        process.kill()
    server.process.wait(timeout=30)


@pytest.mark.thorough
def test_a_run_outlives_the_api_server_that_began_it(
    conninfo: str, postgres: PostgresDatabase, tmp_path: Path
) -> None:
    store_data_centres(postgres, [data_centre(1)], utc_now())
    book(postgres, "job-1", starts_at=utc_now(), hours=RUN_S / 3600, it_power_kw=2000, urgency="CRITICAL")

    def is_now(status: str) -> bool:
        return bool(the_workload(postgres, "job-1")["status"] == status)

    with api_servers(tmp_path, {"DATABASE_URL": as_url(conninfo)}) as start:
        first = start(**NO_WORLD)
        first.wait_for(lambda: is_now("RUNNING"))
        kill(first)
        assert is_now("RUNNING")
        assert the_load(postgres) == (50, 60)
        second = start(**NO_WORLD)
        second.wait_for(lambda: is_now("COMPLETED"))
        second.wait_until_serving()  # a run may be over before it does
        assert 'pylon_bookings_running{carried_out_by="simulation"} 0.0' in second.get("/metrics").text
    done, booking = the_workload(postgres, "job-1"), the_booking(postgres, "job-1")
    assert done["actual_energy_kwh"] * 3600 == pytest.approx(RUN_S * 2000 * 1.2)
    assert (done["actual_start"], done["actual_end"]) == (booking["started_at"], booking["ended_at"])
    assert the_load(postgres) == (50, 50)
