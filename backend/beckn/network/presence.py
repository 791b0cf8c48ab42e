"""Tells the registry, for as long as a process of a platform runs, that it does.

A platform that ended, was killed or lost its machine is not searched any more and stands in the registry as expired:
at once when it ends in order, else when what it told last is over.
"""

from __future__ import annotations

import logging
import threading

from beckn.network.subscribers import Role
from database.errors import DatabaseError
from database.interface import Database
from queueing.supervised import Rest, SupervisedLoop

_log = logging.getLogger(__name__)

TELLS_EVERY_S = 15.0
LASTS_S = 60.0


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
        self.loop = SupervisedLoop(
            f"the thread that tells the registry that {subscriber_id} runs", self._tell, self._stopping
        )

    def start(self) -> None:
        """Be present from now on, or as soon as the database can be told."""
        try:
            self._tell()
        except DatabaseError as error:
            self._warn(error)
        self.loop.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Be present no more, unless another process of the platform is."""
        self._stopping.set()
        self.loop.join(timeout_s)
        try:
            self._database.call("beckn_leave", self._platform, repeatable=True)
        except DatabaseError as error:
            self._warn(error)

    def _tell(self) -> Rest:
        self._database.call("beckn_stay", {**self._platform, "p_seconds": self._lasts_s}, repeatable=True)
        return lambda: self._stopping.wait(self._every_s)

    def _warn(self, error: DatabaseError) -> None:
        _log.warning(
            "the registry could not be told whether %s is running: %s", self._platform["p_subscriber_id"], error
        )
