"""The endpoint for what waits or runs at one's own data centres, whoever's it is."""

from __future__ import annotations

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from database.callers import viewer_through
from database.interface import Database
from ontology.types import Moment
from vocabulary import WorkloadStatus
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import Paged

TAG = Tag(name="Hosting", description="What runs at one's own data centres")


class HostedWorkload(BaseModel):
    """A workload as whoever runs it sees it: what it takes, when, and whose it is. Not its price, cap or urgency."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: str = Field(description="As its meter readings call it; two operators may have jobs of one name")
    operator: str = Field(description="Whose it is")
    host_dc_id: str
    required_gpu_mins: float | None
    required_cpu_cores: int | None
    required_memory_gb: float | None
    estimated_energy_kwh: float | None
    status: WorkloadStatus = Field(description="QUEUED or RUNNING; afterwards it is seen here no longer")
    scheduled_start: Moment | None
    actual_start: Moment | None


class HostedPage(BaseModel):
    """Workloads by the names of their jobs. Those of one name stand on one page, however many."""

    workloads: list[HostedWorkload]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


def hosted_workload_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/hosted-workloads`"""
    endpoints = APIBlueprint("hosted_workloads", __name__, url_prefix="/api/v1/hosted-workloads", abp_tags=[TAG])

    @endpoints.get(
        "",
        summary="What waits or runs at one's own data centres",
        description="Whoever's it is, while it is placed there. Whoever sees everything sees every data centre's.",
        responses={200: HostedPage},
    )
    def hosted(query: Paged) -> Response:
        function = "hosted_workloads" if viewer_through(database).is_platform else "own_hosted_workloads"
        asked = {"p_after": query.after, "p_limit": query.limit}
        found = [HostedWorkload.model_validate(row) for row in database.call(function, asked, repeatable=True)]
        return answer({"workloads": found, "next": found[-1].job_id if len(found) >= query.limit else None})

    return endpoints
