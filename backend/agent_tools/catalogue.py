"""All tools, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from agent_tools.data_centres import GET_CAPACITY, LIST_DATA_CENTRES
from agent_tools.decisions import GET_DECISION, LIST_DECISIONS
from agent_tools.definitions import ToolDefinition
from agent_tools.flexibility import GET_FLEXIBILITY
from agent_tools.grid import FIND_GREEN_WINDOW, GRID_FORECAST, GRID_NOW
from agent_tools.negotiations import GET_NEGOTIATIONS
from agent_tools.objects import FIND_OBJECTS, FOLLOW_LINK
from agent_tools.plans import PLAN_BATCH, PLAN_WORKLOAD
from agent_tools.savings import GET_SAVINGS
from agent_tools.workloads import GET_WORKLOAD, SUBMIT_WORKLOAD

TOOLS: Mapping[str, ToolDefinition[Any]] = MappingProxyType(
    {
        tool.name: tool
        for tool in (
            GRID_NOW,
            GRID_FORECAST,
            FIND_GREEN_WINDOW,
            LIST_DATA_CENTRES,
            GET_CAPACITY,
            PLAN_WORKLOAD,
            PLAN_BATCH,
            SUBMIT_WORKLOAD,
            GET_WORKLOAD,
            GET_DECISION,
            LIST_DECISIONS,
            GET_SAVINGS,
            GET_FLEXIBILITY,
            GET_NEGOTIATIONS,
            FIND_OBJECTS,
            FOLLOW_LINK,
        )
    }
)
