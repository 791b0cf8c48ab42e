"""The program at the end of docs/agents.md, as it is pasted: agents over HTTP and A2A share a limit and settle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from api_application import create_app
from clock import utc_now
from database.postgres import PostgresDatabase
from negotiation.life import CoordinatorThread
from served import served
from settings import load_settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "agents.md"


def test_three_agents_share_a_limit_and_settle_as_pasted(conninfo: str, tmp_path: Path) -> None:
    found = re.search(r"three_agents.py <<'PYTHON'\n(.*?)\nPYTHON", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    program = tmp_path / "three_agents.py"
    program.write_text(found[1])
    with closing(PostgresDatabase(conninfo)) as database:
        coordinator = CoordinatorThread(database, worker="one", clock=utc_now)
        with served(create_app(database, load_settings({}), coordinator=coordinator)) as api:
            coordinator.start()
            try:
                environment = os.environ | {"PYLON_URL": api.url}
                ended = subprocess.run(
                    [sys.executable, str(program)],
                    capture_output=True,
                    text=True,
                    env=environment,
                    timeout=120,
                    check=False,
                )
            finally:
                coordinator.stop()
    assert ended.returncode == 0, ended.stderr
    shown = DOCUMENT.read_text().rsplit("```\n", 2)[1]
    assert ended.stdout == shown
