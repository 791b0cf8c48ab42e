"""What the events of the log are about, and which of them somebody wants to hear."""

from __future__ import annotations

from dataclasses import dataclass

from vocabulary import StrEnum


class Topic(StrEnum):
    """Follows from an event's type (`broadcast_log.topic`)."""

    DECISIONS = "decisions"
    WORKLOADS = "workloads"
    ORDERS = "orders"
    GRID = "grid"
    SOURCES = "sources"
    DATA_CENTRES = "data_centres"
    AGENTS = "agents"
    NEGOTIATIONS = "negotiations"


class Detail(StrEnum):
    """How much of an event is told: all of it, or some hundred bytes."""

    FULL = "full"
    SUMMARY = "summary"


EVERY_TOPIC = frozenset(Topic)


@dataclass(frozen=True)
class Selection:
    """The events that somebody wants: decisions, unless more is asked for; of one workload, if `job_id` is given."""

    topics: frozenset[Topic] = frozenset({Topic.DECISIONS})
    job_id: str | None = None

    def takes(self, topic: Topic, job_id: str | None) -> bool:
        return topic in self.topics and (self.job_id is None or self.job_id == job_id)


DECISIONS_ALONE = Selection()
EVERYTHING = Selection(EVERY_TOPIC)
