"""What can be read by address: the ontology, decisions, how they are reckoned, and the sources."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agent_tools.answers import answer_document
from agent_tools.decisions import GET_DECISION, LIST_DECISIONS, DecisionAsked, DecisionsAsked
from agent_tools.definitions import HARD_BYTES, Call, size
from agent_tools.refusals import ToolRefused
from agent_tools.strangers_text import quoted_document

LATEST = "pylon://decisions/latest"


class NoSuchResource(Exception):
    """There is nothing at this address."""


@dataclass(frozen=True)
class ResourceDefinition:
    """What is at an address, or at each address of a template with one `{name}` in it."""

    uri: str
    name: str
    description: str
    read: Callable[[str, Call], Awaitable[dict[str, Any]]]

    @property
    def is_template(self) -> bool:
        return "{" in self.uri


SCORING: dict[str, Any] = {
    "objective": "J = energy + carbon + grid stress + delay, in GBP; the place and start with the least J that "
    "breaks no hard constraint is chosen",
    "energy": "site energy (IT energy x PUE) x wholesale price of each half-hour",
    "carbon": "site energy x the region's carbon intensity of each half-hour x the carbon price (GBP/t)",
    "grid_stress": "a declared adder for running while the grid is stressed, 0 to 1",
    "delay": "the price of waiting until the start, by urgency; CRITICAL starts at once",
    "policies": {
        "balanced": "all parts as they are",
        "carbon": "carbon counts for more",
        "cost": "energy counts for more",
    },
    "hard_constraints": [
        "status",
        "free_capacity",
        "forecast_horizon",
        "signal_missing",
        "deadline",
        "deferral_window",
        "grid_stress",
        "carbon_cap",
        "max_price",
    ],
    "score": "0 to 100: falls strictly as J rises; 0 is infeasible",
    "figures": "carbon intensities are regional averages, not marginal; prices ahead are modelled, none is published",
    "more": "docs/scoring.md in the repository",
}


async def _ontology(_: str, call: Call) -> dict[str, Any]:
    document = await call.platform.get("/api/v1/ontology")
    types = document["object_types"]
    return {
        "object_types": {each["name"]: each["description"] for each in types},
        "link_types": [f"{each['source']} {each['rel']} {each['target']}" for each in document["link_types"]],
        "more": "pylon://ontology/{type} has a type's properties and which can be filtered by",
    }


async def _type(uri: str, call: Call) -> dict[str, Any]:
    name = _last(uri)
    document = await call.platform.get("/api/v1/ontology")
    found = next((each for each in document["object_types"] if each["name"] == name), None)
    if found is None:
        raise NoSuchResource
    links = [each for each in document["link_types"] if name in {each["source"], each["target"]}]
    return {**found, "link_types": links}


async def _decision(uri: str, call: Call) -> dict[str, Any]:
    job_id = _last(uri)
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", job_id):
        raise NoSuchResource
    try:
        return answer_document(GET_DECISION, await GET_DECISION.run(DecisionAsked(job_id=job_id), call))
    except ToolRefused as refused:
        if "there is no such" in str(refused):
            raise NoSuchResource from None
        raise


async def _latest(_: str, call: Call) -> dict[str, Any]:
    return answer_document(LIST_DECISIONS, await LIST_DECISIONS.run(DecisionsAsked(), call))


async def _scoring(_: str, __: Call) -> dict[str, Any]:
    return SCORING


async def _sources(_: str, call: Call) -> dict[str, Any]:
    health = await call.platform.health()
    names = ("state", "as_of", "newest_signal_fetched_at", "newest_signal_age_seconds", "current_half_hour_known")
    told = {name: health.get(name) for name in names}
    return {**told, "sources": health.get("sources"), "reasons": (health.get("reasons") or [])[:20]}


RESOURCES: Mapping[str, ResourceDefinition] = MappingProxyType(
    {
        each.uri: each
        for each in (
            ResourceDefinition("pylon://ontology", "ontology", "The object types and links, by name", _ontology),
            ResourceDefinition(LATEST, "latest decisions", "The newest decisions; can be subscribed to", _latest),
            ResourceDefinition("pylon://scoring", "scoring", "How places and starts are compared", _scoring),
            ResourceDefinition("pylon://sources", "sources", "The upstream sources and how fresh they are", _sources),
            ResourceDefinition(
                "pylon://decisions/{job_id}", "decision", "Why one workload is placed where it is", _decision
            ),
            ResourceDefinition(
                "pylon://ontology/{type}", "object type", "One object type: properties, units, links", _type
            ),
        )
    }
)


async def read_resource(uri: str, call: Call) -> dict[str, Any]:
    """The document at an address, every text in it quoted, within the bound of an answer.

    Raises:
        NoSuchResource: there is none.
        ToolRefused: the platform refuses, or cannot be reached.
    """
    found = RESOURCES.get(uri)
    if found is None or found.is_template:
        found = next((each for each in RESOURCES.values() if each.is_template and _fits(each.uri, uri)), None)
    if found is None:
        raise NoSuchResource
    document: dict[str, Any] = quoted_document(await found.read(uri, call))
    if size(document) > HARD_BYTES:
        raise ToolRefused("it is too long to be read at once: use find_objects")
    return document


def _fits(template: str, uri: str) -> bool:
    return uri.rpartition("/")[0] == template.rpartition("/")[0] and uri not in RESOURCES


def _last(uri: str) -> str:
    return uri.rpartition("/")[2]
