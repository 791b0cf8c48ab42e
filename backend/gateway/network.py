"""The gateway's place on the Beckn network."""

from __future__ import annotations

from dataclasses import dataclass

from beckn.network.participant import Participant
from beckn.network.settings import NetworkSettings


@dataclass(frozen=True)
class JoinedNetwork:
    """The network as the settings have it, and the gateway as it joined it."""

    settings: NetworkSettings
    gateway: Participant
