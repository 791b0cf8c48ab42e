"""The gateway's place on the Beckn network."""

from __future__ import annotations

from dataclasses import dataclass

from beckn.network_settings import NetworkSettings
from beckn.participant import Participant


@dataclass(frozen=True)
class JoinedNetwork:
    """The network as the settings have it, and the gateway as it joined it."""

    settings: NetworkSettings
    gateway: Participant
