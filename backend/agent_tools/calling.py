"""A call of a tool from its arguments, as they came, to its answer: checked, counted, asked, bounded, logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agent_tools.answers import answer_document
from agent_tools.catalogue import TOOLS
from agent_tools.definitions import Asked, Call, ToolDefinition, compact_json, size
from agent_tools.refusals import ToolRefused
from agent_tools.strangers_text import quoted
from agent_tools.write_limit import WriteLimit

log = logging.getLogger("mcp_server")

MOST_FAULTS = 5
LONGEST_ARGUMENTS = 256 * 1024


@dataclass(frozen=True)
class ToolCalls:
    """The tools that may be called, and how often those that change something."""

    allow_writes: bool
    limit: WriteLimit

    def offered(self) -> list[ToolDefinition[Any]]:
        """In a stable order."""
        return [tool for tool in TOOLS.values() if self.allow_writes or not tool.writes]

    async def call(
        self, name: str, arguments: Mapping[str, Any] | None, call: Call, credential: str | None
    ) -> dict[str, Any]:
        """The answer's document.

        Raises:
            ToolRefused: there is none; the message is for the agent.
        """
        tool = TOOLS.get(name)
        if tool is None:
            raise ToolRefused("there is no such tool: tools/list has them all")
        if tool.writes and not self.allow_writes:
            raise ToolRefused(
                f"{name} changes something, and MCP_ALLOW_WRITES is not 1 where this server was started"
            )
        began = time.monotonic()
        outcome = "failed"
        try:
            asked = read_arguments(tool, arguments)
            if tool.writes:
                self.limit.count(credential)
            document = answer_document(tool, await tool.run(asked, call))
            outcome = f"{size(document)} bytes"
            return document
        except ToolRefused:
            outcome = "refused"
            raise
        finally:
            log.info("%s: %s in %.0f ms", name, outcome, 1000 * (time.monotonic() - began))


def read_arguments(tool: ToolDefinition[Any], arguments: Mapping[str, Any] | None) -> Asked:
    """The arguments as the tool takes them.

    Raises:
        ToolRefused: they are not such; the message names the first ones at fault, and holds no value.
    """
    text = compact_json(dict(arguments or {}))
    if len(text) > LONGEST_ARGUMENTS:
        raise ToolRefused("the arguments are too long: send less at once")
    try:
        asked: Asked = tool.takes.model_validate_json(text)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = [_fault(tool, fault["loc"], str(fault["type"]), str(fault["msg"])) for fault in faults[:MOST_FAULTS]]
        raise ToolRefused("refused: " + "; ".join(told)) from None
    return asked


def _fault(tool: ToolDefinition[Any], location: tuple[int | str, ...], kind: str, message: str) -> str:
    where = quoted(".".join(map(str, location)) or "the arguments", 60)
    if kind == "extra_forbidden":
        return f'"{where}" is not an argument; {tool.name} takes: {", ".join(tool.takes.model_fields) or "none"}'
    return f"{where}: {message[:1].lower()}{quoted(message[1:], 160)}"
