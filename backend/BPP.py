"""Process 3: the provider's platform, which sells the data centres' compute slots over Beckn on port 5053.

python backend/BPP.py      (or, in backend/, python BPP.py)

This is the process that watches over the serving one. What that serves is in `provider_application.py`, which is
loaded there alone.
"""

from __future__ import annotations

import sys
from contextlib import closing

from beckn.network.keys import KeyUnusable
from beckn.network.participant import Participant
from beckn.network.settings import load_network_settings
from beckn.network.subscribers import Role, SubscriptionRefused
from database.errors import DatabaseError
from database.opening import open_database
from settings import SettingsError, load_settings
from web.serving import CannotListen, check_port, run_until_stopped
from web.serving_process import serve

# What keeps it from starting, told in one line.
REFUSALS = (SettingsError, CannotListen, DatabaseError, KeyUnusable, SubscriptionRefused)


def _run() -> None:
    settings = load_settings()
    network = load_network_settings(settings)
    check_port(network.bpp_host, network.bpp_port)
    # Opened and registered here too: what is wrong is told once, and the embedded database outlives its last user.
    with closing(open_database(settings)) as database:
        registered = Participant.join(
            database,
            network.provider,
            Role.BPP,
            data_dir=settings.pylon_data_dir,
            authenticates=network.authenticates,
        )
        try:
            serve("provider_application:application", network.bpp_host, network.bpp_port, REFUSALS)
        finally:
            registered.presence.stop()


def main() -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit status."""
    return run_until_stopped("BPP", _run, REFUSALS)


if __name__ == "__main__":
    sys.exit(main())
