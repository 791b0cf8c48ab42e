"""OpenADR's objects as clients send them and as they are answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel

from database.interface import Row
from openadr.values import (
    MOST_CALLBACKS,
    MOST_LISTED,
    Attributes,
    BearerToken,
    CallbackUrl,
    Duration,
    IntervalPeriod,
    Intervals,
    Name,
    ObjectId,
    PayloadDescriptors,
    ReportDescriptors,
    Targets,
    Text,
    Wire,
)
from vocabulary import StrEnum
from workloads.model import UtcDatetime

SERVER_SAYS = "What the server says of itself; taken, and not looked at"


class ObjectType(StrEnum):
    """The kinds of object."""

    PROGRAM = "PROGRAM"
    EVENT = "EVENT"
    REPORT = "REPORT"
    VEN = "VEN"
    RESOURCE = "RESOURCE"
    SUBSCRIPTION = "SUBSCRIPTION"


class Sent(Wire):
    """An object from a client, which may send back what it was answered."""

    id: Text | None = Field(None, exclude=True, description=SERVER_SAYS)
    created_date_time: Text | None = Field(None, exclude=True, description=SERVER_SAYS)
    modification_date_time: Text | None = Field(None, exclude=True, description=SERVER_SAYS)
    object_type: Name | None = Field(None, exclude=True, description=SERVER_SAYS)


class Kept(Wire):
    """What the server adds to an object."""

    id: ObjectId
    created_date_time: AwareDatetime
    modification_date_time: AwareDatetime


class ProgramDescription(Wire):
    url: Text = Field(alias="URL")


class ProgramFields(Wire):
    program_name: Name = Field(description="Its own among the programs of an operator")
    program_long_name: Name | None = None
    retailer_name: Name | None = None
    retailer_long_name: Name | None = None
    program_type: Name | None = None
    country: Name | None = None
    principal_subdivision: Name | None = None
    time_zone_offset: Duration | None = None
    interval_period: IntervalPeriod | None = None
    program_descriptions: Annotated[list[ProgramDescription], Field(max_length=MOST_LISTED)] | None = None
    binding_events: bool | None = None
    local_price: bool | None = None
    payload_descriptors: PayloadDescriptors | None = None
    targets: Targets | None = Field(None, description="Which VENs may see it; without any, all of the operator's")
    attributes: Attributes | None = None


class ProgramRequest(Sent, ProgramFields):
    """A program."""


class ProgramObject(Kept, ProgramFields):
    """A program as it is kept."""

    object_type: Literal["PROGRAM"]


class EventFields(Wire):
    program_id: ObjectId = Field(alias="programID")
    event_name: Text | None = None
    duration: Duration | None = None
    priority: Annotated[int, Field(ge=0, le=2**31)] | None = Field(None, description="0 is the highest")
    targets: Targets | None = Field(None, description="Which VENs may see it; without any, all that see its program")
    report_descriptors: ReportDescriptors | None = None
    payload_descriptors: PayloadDescriptors | None = None
    interval_period: IntervalPeriod | None = None
    intervals: Intervals | None = None


class EventRequest(Sent, EventFields):
    """An event. With DISPATCH_SETPOINT_RELATIVE payloads it asks Pylon's own flexibility for less load."""


class EventObject(Kept, EventFields):
    """An event as it is kept."""

    object_type: Literal["EVENT"]


class ReportResource(Wire):
    """What one resource reports."""

    resource_name: Name
    interval_period: IntervalPeriod | None = None
    intervals: Intervals


class ReportFields(Wire):
    event_id: ObjectId = Field(alias="eventID")
    program_id: ObjectId | None = Field(None, alias="programID")
    client_name: Name
    report_name: Text | None = None
    payload_descriptors: PayloadDescriptors | None = None
    resources: Annotated[list[ReportResource], Field(max_length=MOST_LISTED)]


class ReportRequest(Sent, ReportFields):
    """A report of a VEN: what its resources used, would have used or can do."""

    client_id: Name | None = Field(None, alias="clientID", exclude=True, description=SERVER_SAYS)


class ReportObject(Kept, ReportFields):
    """A report as it is kept."""

    client_id: Name = Field(alias="clientID")
    object_type: Literal["REPORT"]


class VenFields(Wire):
    ven_name: Name = Field(description="Its own among the VENs of an operator")
    attributes: Attributes | None = None
    targets: Targets | None = Field(None, description="What it may see: programs and events with one of these")
    client_id: Name | None = Field(
        None, alias="clientID", description="Which service account it is: its id, or that of one of its keys"
    )


class VenRequest(Sent, VenFields):
    """A VEN. Business logic says which clientID and targets it has; what a VEN says of them itself is left out."""


class VenObject(Kept, VenFields):
    """A VEN as it is kept."""

    object_type: Literal["VEN"]


class ResourceFields(Wire):
    resource_name: Name = Field(description="Its own among those of its VEN")
    ven_id: ObjectId = Field(alias="venID")
    attributes: Attributes | None = None
    targets: Targets | None = Field(None, description="What its VEN may see besides")


class ResourceRequest(Sent, ResourceFields):
    """Something that a VEN steers."""

    client_id: Name | None = Field(None, alias="clientID", exclude=True, description=SERVER_SAYS)


class ResourceObject(Kept, ResourceFields):
    """A resource as it is kept."""

    client_id: Name = Field(alias="clientID")
    object_type: Literal["RESOURCE"]


class Operation(StrEnum):
    """What may happen to an object. OpenADR's documents have two words for most; each is told in the one it uses."""

    CREATE = "CREATE"
    READ = "READ"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    POST = "POST"
    GET = "GET"
    PUT = "PUT"


class ObjectOperation(Wire):
    """What is to be told of, and where."""

    objects: Annotated[list[ObjectType], Field(min_length=1, max_length=len(ObjectType))]
    operations: Annotated[list[Operation], Field(min_length=1, max_length=len(Operation))] = Field(
        description="READ and GET are taken, and never told of"
    )
    callback_url: CallbackUrl = Field(description="Where each change is posted to")
    bearer_token: BearerToken | None = Field(None, description="Sent along in the header Authorization")


class SubscriptionFields(Wire):
    client_name: Name
    program_id: ObjectId | None = Field(None, alias="programID", description="Only of what is in this program")
    object_operations: Annotated[list[ObjectOperation], Field(min_length=1, max_length=MOST_CALLBACKS)]
    targets: Targets | None = Field(None, description="Only of what has one of these targets")


class SubscriptionRequest(Sent, SubscriptionFields):
    """A wish to be told of changes by webhooks."""

    client_id: Name | None = Field(None, alias="clientID", exclude=True, description=SERVER_SAYS)


class SubscriptionObject(Kept, SubscriptionFields):
    """A subscription as it is kept."""

    client_id: Name = Field(alias="clientID")
    object_type: Literal["SUBSCRIPTION"]


class Notifiers(BaseModel):
    """How this server tells of changes."""

    model_config = ConfigDict(extra="forbid")

    webhook: Literal[True] = Field(
        True, alias="WEBHOOK", description="By webhooks, for which there are subscriptions"
    )


class ProgramList(RootModel[list[ProgramObject]]):
    """A page of programs, the newest first."""


class EventList(RootModel[list[EventObject]]):
    """A page of events, the newest first."""


class ReportList(RootModel[list[ReportObject]]):
    """A page of reports, the newest first."""


class VenList(RootModel[list[VenObject]]):
    """A page of VENs, the newest first."""


class ResourceList(RootModel[list[ResourceObject]]):
    """A page of resources, the newest first."""


class SubscriptionList(RootModel[list[SubscriptionObject]]):
    """A page of subscriptions, the newest first."""


class StoredObject(BaseModel):
    """A row of the database."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    object_id: str
    object_type: str
    created_at: UtcDatetime
    modified_at: UtcDatetime
    content: dict[str, Any]


def on_the_wire(row: Row) -> dict[str, Any]:
    """A row as OpenADR writes it."""
    stored = StoredObject.model_validate(row)
    return {
        "id": stored.object_id,
        "createdDateTime": stored.created_at,
        "modificationDateTime": stored.modified_at,
        "objectType": stored.object_type,
        **stored.content,
    }
