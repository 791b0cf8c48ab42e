"""Process 1: the pipeline's schedule, the executor of booked workloads, and the REST API on port 5000.

python backend/api_server.py      (or, in backend/, python api_server.py)

This is the process that watches over the serving one. What that serves is in `api_application.py`, which is loaded
there alone: to load it here as well would double the time and the memory that a start takes.
"""

from __future__ import annotations

import sys
from contextlib import closing

from database.errors import DatabaseError
from database.opening import open_database
from settings import SettingsError, load_settings
from web.serving import CannotListen, check_port, run_until_stopped
from web.serving_process import serve

# What keeps it from starting, told in one line.
REFUSALS = (SettingsError, CannotListen, DatabaseError)


def _run() -> None:
    settings = load_settings()
    check_port(settings.api_host, settings.api_port)
    # Opened here too: a wrong setting is told once, and the embedded database outlives its last user.
    with closing(open_database(settings)):
        serve("api_application:application", settings.api_host, settings.api_port, REFUSALS)


def main() -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit status."""
    return run_until_stopped("api_server", _run, REFUSALS)


if __name__ == "__main__":
    sys.exit(main())
