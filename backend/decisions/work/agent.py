"""The gateway as an agent of the ontology: one row of `agents`, and a row of `agent_states` for each change."""

from __future__ import annotations

import logging
import re
import socket
import threading

from database.errors import DatabaseError
from database.interface import Database
from vocabulary import StrEnum

AGENT_TYPE = "GATEWAY"

_log = logging.getLogger(__name__)


class AgentState(StrEnum):
    """`DETERMINISTIC`: no model decides, by choice or because it fails; the state's detail says which."""

    STARTED = "STARTED"
    MODEL = "MODEL"
    DETERMINISTIC = "DETERMINISTIC"
    STOPPED = "STOPPED"


def gateway_agent_id(port: int, host: str | None = None) -> str:
    """The agent of the gateway at a port of this machine: the same after a restart, another beside it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host or socket.gethostname())[:48]
    return f"gateway:{name}:{port}"


class GatewayAgent:
    """Writes the gateway's state. A failure to do so is logged: it must not keep a gateway from deciding."""

    def __init__(self, database: Database, agent_id: str, version: str) -> None:
        self.agent_id = agent_id
        self._database = database
        self._version = version
        self._one_writer = threading.Lock()
        self._last: tuple[AgentState, str | None] | None = None

    def register(self, detail: str) -> None:
        """Join the agents, or come back to them.

        Raises:
            DatabaseError: it cannot be stored.
        """
        arguments = {
            "p_agent_id": self.agent_id,
            "p_name": f"Gateway {self.agent_id.partition(':')[2]}",
            "p_agent_type": AGENT_TYPE,
            "p_version": self._version,
            "p_detail": detail,
        }
        self._database.call("register_agent", arguments, repeatable=True)

    def record(self, state: AgentState, detail: str | None = None) -> None:
        """Store a state, unless it is the last one that was."""
        arguments = {"p_agent_id": self.agent_id, "p_state": str(state), "p_detail": detail}
        with self._one_writer:
            if self._last == (state, detail):
                return
            try:
                self._database.call("record_agent_state", arguments)
                self._last = state, detail
            except DatabaseError as error:
                _log.warning("agent %s: the state %s could not be recorded: %s", self.agent_id, state, error)
