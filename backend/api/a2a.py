"""A2A 1.0 (agent to agent): agents outside take part in negotiations by JSON-RPC, over the functions that REST calls.

The agent always calls: nothing is pushed and nothing streams. An agent's credential is its operator's, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.a2a_tasks import TASK_STATES, message_of, read_task_id, task_of, task_state
from database.interface import Database
from negotiation.model import AgentPart, Leaving
from negotiation.talk import Said, Saying, parts_of, read_part, say
from printable import printable
from version import VERSION
from web.api_blueprint import APIBlueprint
from web.application import answer, json_of
from web.problems import LONGEST_DETAIL, LONGEST_FIELD

TAG = Tag(name="A2A", description="Agents of others negotiate by the Agent2Agent protocol 1.0")
PROTOCOL = "1.0"
MOST_TASKS = 100

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32600, -32601, -32602
TASK_NOT_FOUND, TASK_NOT_CANCELABLE, NO_PUSH, UNSUPPORTED = -32001, -32002, -32003, -32004
WRONG_CONTENT, NO_EXTENDED_CARD, WRONG_VERSION = -32005, -32007, -32009
_WRONG_ID = "an id is a text, or a whole number of 64 bits"
_REASONS = {
    TASK_NOT_FOUND: "TASK_NOT_FOUND",
    TASK_NOT_CANCELABLE: "TASK_NOT_CANCELABLE",
    NO_PUSH: "PUSH_NOTIFICATION_NOT_SUPPORTED",
    UNSUPPORTED: "UNSUPPORTED_OPERATION",
    WRONG_CONTENT: "CONTENT_TYPE_NOT_SUPPORTED",
    NO_EXTENDED_CARD: "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    WRONG_VERSION: "VERSION_NOT_SUPPORTED",
}
_NEVER = {
    "SendStreamingMessage": (UNSUPPORTED, "nothing streams here: ask again with GetTask"),
    "SubscribeToTask": (UNSUPPORTED, "nothing streams here: ask again with GetTask"),
    "GetExtendedAgentCard": (NO_EXTENDED_CARD, "the card at /.well-known/agent-card.json is all there is"),
    "CreateTaskPushNotificationConfig": (NO_PUSH, "nothing is pushed from here: ask again with GetTask"),
    "GetTaskPushNotificationConfig": (NO_PUSH, "nothing is pushed from here: ask again with GetTask"),
    "ListTaskPushNotificationConfigs": (NO_PUSH, "nothing is pushed from here: ask again with GetTask"),
    "DeleteTaskPushNotificationConfig": (NO_PUSH, "nothing is pushed from here: ask again with GetTask"),
}


class RpcBody(BaseModel):
    """A call of JSON-RPC 2.0. What is wrong in it is answered as JSON-RPC says, with HTTP 200."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"example": {"jsonrpc": "2.0", "id": "1", "method": "ListTasks", "params": {}}},
    )

    jsonrpc: Any = Field(None, description='"2.0"')
    id: Any = Field(None, description="A text or a whole number, which the answer bears too")
    method: Any = Field(None, description="SendMessage, GetTask, ListTasks or CancelTask")
    params: Any = Field(None, description="As A2A 1.0 has them for the method")


class RpcFault(BaseModel):
    """What was wrong, by A2A's codes."""

    code: int
    message: str
    data: list[dict[str, Any]] | None = None


class RpcAnswer(BaseModel):
    """Either a result or an error."""

    jsonrpc: str
    id: str | int | None
    result: dict[str, Any] | None = None
    error: RpcFault | None = None


class AgentCard(BaseModel):
    """Who answers here, where, and by which protocol, as A2A 1.0 has it."""

    name: str
    description: str
    version: str
    supportedInterfaces: list[dict[str, Any]]  # noqa: N815 - the protocol's name
    capabilities: dict[str, Any]
    defaultInputModes: list[str]  # noqa: N815 - the protocol's name
    defaultOutputModes: list[str]  # noqa: N815 - the protocol's name
    skills: list[dict[str, Any]]
    securitySchemes: dict[str, Any] | None = None  # noqa: N815 - the protocol's name
    securityRequirements: list[dict[str, Any]] | None = None  # noqa: N815 - the protocol's name


class _Fault(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Params(BaseModel):
    """What A2A has in every call's parameters; what is of no use here is left alone, as the protocol wants."""

    model_config = ConfigDict(extra="ignore")


class _Part(_Params):
    data: Any = None


class _Message(_Params):
    messageId: str = Field(min_length=1, max_length=200)  # noqa: N815 - the protocol's name
    taskId: str = ""  # noqa: N815 - the protocol's name
    contextId: str = ""  # noqa: N815 - the protocol's name
    parts: list[_Part] = Field(min_length=1, max_length=10)


class _SendMessage(_Params):
    message: _Message


class _OfTask(_Params):
    id: str


class _ListTasks(_Params):
    contextId: str = ""  # noqa: N815 - the protocol's name
    status: str = ""
    pageSize: int = Field(50, ge=1, le=MOST_TASKS)  # noqa: N815 - the protocol's name
    pageToken: str = ""  # noqa: N815 - the protocol's name
    includeArtifacts: bool = False  # noqa: N815 - the protocol's name


def a2a_endpoints(
    database: Database,
    clock: Callable[[], datetime],
    *,
    asks_for_credentials: bool,
    public_url: str | None = None,
) -> APIBlueprint:
    """The agent card and `/a2a`. `public_url`: where others reach this server; by default as the request has it."""
    endpoints = APIBlueprint("a2a", __name__, abp_tags=[TAG])

    @endpoints.get(
        "/.well-known/agent-card.json",
        summary="The agent card of A2A: who negotiates here, and how",
        responses={200: AgentCard},
    )
    def card() -> Response:
        base = public_url or request.host_url.rstrip("/")
        found = agent_card(f"{base}/a2a", asks_for_credentials=asks_for_credentials)
        return answer(found.model_dump(exclude_none=True))

    @endpoints.post(
        "/a2a",
        summary="Negotiate by A2A 1.0, over JSON-RPC",
        description="SendMessage, GetTask, ListTasks and CancelTask, with the header `A2A-Version: 1.0`. A task is "
        "one agent's part of a negotiation. Errors of the call are JSON-RPC errors with HTTP 200; of the credential, "
        "the media type and the JSON they are problems, as everywhere.",
        responses={200: RpcAnswer},
    )
    def rpc(body: RpcBody) -> Response:
        name = None
        try:
            name = _borne_id(body.id)
            result = _called(database, body, clock)
        except _Fault as fault:
            return answer({"jsonrpc": "2.0", "id": name, "error": _error(fault)})
        return answer({"jsonrpc": "2.0", "id": name, "result": result})

    return endpoints


def agent_card(url: str, *, asks_for_credentials: bool) -> AgentCard:
    """The card of the coordinator whose JSON-RPC is at this address."""
    return AgentCard(
        name="Pylon DEG coordinator",
        description="Agents that share a limit of power by half-hour negotiate who draws when, and who pays whom: an "
        "iterated contract net over half-hour prices.",
        version=VERSION,
        supportedInterfaces=[{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": PROTOCOL}],
        capabilities={"streaming": False, "pushNotifications": False},
        defaultInputModes=["application/json"],
        defaultOutputModes=["application/json"],
        skills=[
            {
                "id": "share-a-limit",
                "name": "Share a limit of power",
                "description": "Answers calls for proposals at half-hour prices with plans, and confirms its award: "
                "what an agent that was invited does, in a task of its own (ListTasks).",
                "tags": ["negotiation", "contract-net", "electricity", "flexibility"],
            }
        ],
        securitySchemes={"bearer": {"httpAuthSecurityScheme": {"scheme": "bearer"}}}
        if asks_for_credentials
        else None,
        securityRequirements=[{"schemes": {"bearer": {"list": []}}}] if asks_for_credentials else None,
    )


def _borne_id(given: Any) -> str | int | None:
    """The id that the answer bears too; None where none is given.

    Raises:
        _Fault: it is none, or JSON cannot be made of it here: half a surrogate pair, or more than 64 bits.
    """
    try:
        json_of(given)
    except TypeError:
        raise _Fault(INVALID_REQUEST, _WRONG_ID) from None
    if given is None or (isinstance(given, (str, int)) and not isinstance(given, bool)):
        return given
    raise _Fault(INVALID_REQUEST, _WRONG_ID)


def _called(database: Database, body: RpcBody, clock: Callable[[], datetime]) -> dict[str, Any]:
    version = request.headers.get("A2A-Version", "0.3")
    if body.jsonrpc != "2.0" or not isinstance(body.method, str):
        raise _Fault(INVALID_REQUEST, 'a call has "jsonrpc": "2.0", an id, a method and its params')
    if version.strip() != PROTOCOL:
        raise _Fault(WRONG_VERSION, "this is A2A 1.0: send the header A2A-Version: 1.0 (without it, it is 0.3)")
    if body.method in _NEVER:
        raise _Fault(*_NEVER[body.method])
    params = body.params if body.params is not None else {}
    if not isinstance(params, dict):
        raise _Fault(INVALID_PARAMS, "params is an object")
    try:
        if body.method == "SendMessage":
            return {"task": task_of(_sent(database, _SendMessage.model_validate(params).message, clock()))}
        if body.method == "GetTask":
            return task_of(_found(database, _OfTask.model_validate(params).id))
        if body.method == "ListTasks":
            return _listed(database, _ListTasks.model_validate(params))
        if body.method == "CancelTask":
            return task_of(_left(database, _OfTask.model_validate(params).id, clock()))
    except ValidationError as error:
        raise _Fault(INVALID_PARAMS, _told(error)) from None
    raise _Fault(METHOD_NOT_FOUND, "there are SendMessage, GetTask, ListTasks and CancelTask")


def _sent(database: Database, message: _Message, now: datetime) -> AgentPart:
    if not message.taskId:
        raise _Fault(INVALID_PARAMS, "taskId is wanted: agents are invited to a negotiation, ListTasks says to which")
    negotiation_id, agent = _named(message.taskId)
    if message.contextId and message.contextId != str(negotiation_id):
        raise _Fault(INVALID_PARAMS, "contextId is another negotiation than the task's")
    data = [part.data for part in message.parts if part.data is not None]
    if len(data) != 1 or not isinstance(data[0], Mapping):
        raise _Fault(WRONG_CONTENT, "a message has one part with data, an object of JSON")
    said = say(database, negotiation_id, agent, message_of(message.messageId, data[0]), now)
    return _heard(said, UNSUPPORTED)


def _left(database: Database, task_id: str, now: datetime) -> AgentPart:
    negotiation_id, agent = _named(task_id)
    # Not a name that an agent would give a message of its own.
    leaving = Leaving(message_id=f"CancelTask {task_id}", reason="by CancelTask")
    return _heard(say(database, negotiation_id, agent, leaving, now), TASK_NOT_CANCELABLE)


def _heard(said: Said, not_open: int) -> AgentPart:
    if said.state is Saying.UNKNOWN or said.part is None:
        raise _no_task()
    if said.state in {Saying.STORED, Saying.REPEATED}:
        return said.part
    raise _Fault(not_open if said.state is Saying.NOT_OPEN else INVALID_PARAMS, said.detail or str(said.state))


def _found(database: Database, task_id: str) -> AgentPart:
    part = read_part(database, *_named(task_id))
    if part is None:
        raise _no_task()
    return part


def _listed(database: Database, wanted: _ListTasks) -> dict[str, Any]:
    if wanted.pageToken:
        raise _Fault(INVALID_PARAMS, f"pageToken: there is one page, of the newest {MOST_TASKS} tasks at most")
    if wanted.status and wanted.status not in TASK_STATES:
        raise _Fault(INVALID_PARAMS, f"status is one of {', '.join(sorted(TASK_STATES))}")
    status = "" if wanted.status == "TASK_STATE_UNSPECIFIED" else wanted.status
    parts = [
        part
        for part in parts_of(database, MOST_TASKS)
        if wanted.contextId in {"", str(part.negotiation_id)} and status in {"", task_state(part)}
    ]
    shown = parts[: wanted.pageSize]
    tasks = [task_of(part, with_artifacts=wanted.includeArtifacts) for part in shown]
    return {"tasks": tasks, "nextPageToken": "", "pageSize": len(shown), "totalSize": len(parts)}


def _named(task_id: str) -> tuple[UUID, str]:
    found = read_task_id(task_id)
    if found is None:
        raise _no_task()
    return found


def _no_task() -> _Fault:
    return _Fault(TASK_NOT_FOUND, "there is no such task of the caller's: ListTasks says which there are")


def _error(fault: _Fault) -> dict[str, Any]:
    error: dict[str, Any] = {"code": fault.code, "message": str(fault)}
    if fault.code in _REASONS:
        error["data"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": _REASONS[fault.code],
                "domain": "a2a-protocol.org",
            }
        ]
    return error


def _told(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return printable("; ".join(f"{_field(one['loc'])}: {one['msg']}" for one in faults), LONGEST_DETAIL)


def _field(place: tuple[int | str, ...]) -> str:
    # A name that nobody knows is the client's own text.
    return printable(".".join(map(str, place)), LONGEST_FIELD)
