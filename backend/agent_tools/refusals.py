"""What a tool says where it cannot answer: our own words, what to do next, and never anybody else's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType


class ToolRefused(Exception):
    """The tool cannot do it; the message says why and what to do, in our own words, and is shown to the agent.

    Attributes:
        status: of the platform's answer, if that is why.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


_BY_FIELD: Mapping[str, str] = MappingProxyType(
    {
        "deadline": "must be after the moment of the decision",
        "host_dc_id": "is no data centre here: leave it out, or take one from list_data_centres",
        "operator": "is no operator here: leave it out, it is the caller's own",
        "run": "asks for a template or a parameter that no runner offers: leave it out to have the run simulated",
        "at": "must be within the forecast, which reaches 48 hours from now",
        "after": "must be the next of the answer before",
        "job_id": "must be another for each workload",
    }
)

_BY_STATUS: Mapping[int, str] = MappingProxyType(
    {
        400: "the platform could not read the request",
        401: "a credential is needed: start this server with PYLON_API_KEY or, over HTTP, send it as a Bearer token",
        403: "the credential does not have the scope for this; ask its operator's administrator for one that has",
        404: "there is no such thing for this caller; find_objects lists what there is",
        409: "it conflicts with what is stored",
        413: "it is too much at once: send less",
        421: "the platform does not answer to the name in PYLON_URL: use its address",
        429: "a limit of this operator is reached: wait a minute, or for workloads to end, and try again",
        503: "the platform is busy or its database is not reachable: try again in a few seconds",
    }
)


def refusal(status: int, fields: Sequence[str]) -> ToolRefused:
    """For an answer of the platform that is none of success.

    Args:
        fields: names at fault, as the platform gave them; those that are no names of ours are not told.
    """
    if status == 422:
        known = [name for field in fields for name in field.split(".") if name in _BY_FIELD]
        faults = [f"{name} {_BY_FIELD[name]}" for name in dict.fromkeys(known)]
        return ToolRefused("refused: " + ("; ".join(faults) or "a value is not one that the platform takes"), status)
    return ToolRefused(_BY_STATUS.get(status, f"the platform answered {status}: its log says why"), status)
