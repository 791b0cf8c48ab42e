"""Tells the registry, for as long as a process of a platform runs, that it does.

A platform that ended, was killed or lost its machine is not searched any more and stands in the registry as expired:
at once when it ends in order, else when what it told last is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from beckn.subscribers import Role
from supabase_client import Database, DatabaseError

_log = logging.getLogger(__name__)

TELLS_EVERY_S = 15.0
LASTS_S = 60.0
AGAIN_AFTER_S = 1.0


class Presence:
    """One process's part in the presence of a platform. Several processes of one platform are present together."""

    def __init__(
        self,
        database: Database,
        subscriber_id: str,
        role: Role,
        worker: str,
        *,
        every_s: float = TELLS_EVERY_S,
        lasts_s: float = LASTS_S,
    ) -> None:
        """`worker` names this process among the platform's. Nothing is told before `start`."""
        self._database = database
        self._platform = {"p_subscriber_id": subscriber_id, "p_type": str(role), "p_worker": worker}
        self._every_s = every_s
        self._lasts_s = lasts_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"presence-{role}", daemon=True)

    def start(self) -> None:
        """Be present from now on."""
        self._tell()
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Be present no more, unless another process of the platform is."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._told(lambda: self._database.call("beckn_leave", self._platform, repeatable=True))

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stopping.wait(pause_s):
            pause_s = self._every_s if self._tell() else AGAIN_AFTER_S

    def _tell(self) -> bool:
        arguments = {**self._platform, "p_seconds": self._lasts_s}
        return self._told(lambda: self._database.call("beckn_stay", arguments, repeatable=True))

    def _told(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except DatabaseError as error:
            _log.warning("the registry cannot be told whether %s runs: %s", self._platform["p_subscriber_id"], error)
            return False
        except Exception:  # noqa: BLE001 - the top of a thread: a bug must not end it
            _log.exception("the registry cannot be told whether %s runs", self._platform["p_subscriber_id"])
            return False
        return True
