"""What has been published, read from the database: events, outputs, contexts, and who has acknowledged what.

Nothing is kept in memory, so a restart or a second gateway shows the same. Each method is one call of an SQL
function (`backend/deprecated/supabase_triggers.sql`, "Publishing") and raises `database.errors.DatabaseError`
or one of its kinds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

from database.interface import Calls, Row
from database.stored_rows import read_each
from decisions.publishing.topics import DECISIONS_ALONE, Detail, Selection, Topic
from grid.half_hours import as_utc
from vocabulary import StrEnum


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Event(_Answer):
    """One broadcast event. `event` is its document: for a `decision`, the published output; empty where only the
    summary was asked for. `subject` is what it is about: a workload, an order, a source, a run's half-hour.

    `operator` is whose it is, and `tenant_sequence` its number among that operator's events. An operator itself is
    told neither: its events are all its own, and `sequence` is that number. One that `is_everybodys` has a number in
    every operator's count, which follows from how many such there had been (`everybodys`).
    """

    sequence: int
    event_type: str
    topic: Topic = Topic.DECISIONS
    subject: str | None = None
    job_id: str | None
    created_at: Annotated[AwareDatetime, AfterValidator(as_utc)]
    event: Row
    summary: Row = {}
    operator: str | None = None
    tenant_sequence: int | None = None
    is_everybodys: bool = False
    everybodys: int = 0

    def as_operators(self) -> Event | None:
        """The event as its operator has it, with numbers that count nobody else's; None where it is nobody's."""
        if self.operator is None or self.tenant_sequence is None:
            return None
        document = self.event
        metadata = document.get("_metadata")
        if isinstance(metadata, dict) and "sequence" in metadata:
            document = {**document, "_metadata": {**metadata, "sequence": self.tenant_sequence}}
        return self.model_copy(update={"sequence": self.tenant_sequence, "event": document})


class EventPage(_Answer):
    """Events in order. `next` is the cursor to go on from; `oldest` is held by the log, `newest` the newest ever.

    A cursor below `oldest - 1` has missed events that are pruned; one above `newest` is of another database. An
    operator is told how many of everybody's events there have been (`everybodys`), which are in its `newest`.
    """

    events: tuple[Event, ...]
    next: int
    oldest: int | None
    newest: int | None
    everybodys: int = 0


class Output(_Answer):
    """A published output and its sequence number; both None where there is none.

    The output is also left out, for speed, where it is the one that the caller said it knows.
    """

    sequence: int | None
    output: Row | None


class OutputPage(_Answer):
    """Outputs, newest first; `next` is the cursor to go on from, None at the end."""

    outputs: tuple[Row, ...]
    next: int | None


class Acknowledgement(_Answer):
    """`known`: the task has an output. `cleared`: this consumer had not acknowledged it until now."""

    known: bool
    cleared: bool


class ContextState(StrEnum):
    IN_WORK = "in_work"
    DECIDED = "decided"
    NONE = "none"


class CurrentContext(_Answer):
    """A decision context and the consumers that have marked its task processed."""

    state: ContextState
    task_id: str | None
    context: Row | None
    processed_by: tuple[str, ...]


class PublishedDecisions:
    """Reads and acknowledges what gateways have published. Safe to use from many threads."""

    def __init__(self, database: Calls) -> None:
        self._database = database

    def events_after(
        self,
        sequence: int,
        limit: int,
        selection: Selection = DECISIONS_ALONE,
        detail: Detail = Detail.FULL,
    ) -> EventPage:
        """The selected events that follow `sequence`, oldest first; reading takes them from nobody else."""
        arguments: Row = {"p_after": sequence, "p_limit": limit}
        if selection != DECISIONS_ALONE:
            arguments |= {"p_topics": sorted(selection.topics), "p_job_id": selection.job_id}
        if detail is not Detail.FULL:
            arguments |= {"p_detail": detail}
        page = self._read("events_after", arguments)
        events, _ = read_each(Event.model_validate, page["events"], lambda event: f"Event/{event['sequence']}")
        return EventPage.model_validate(page | {"events": events})

    def newest_unacknowledged(self, consumer: str, *, known: int | None = None) -> Output:
        arguments = {"p_consumer": consumer, "p_known": known}
        return Output.model_validate(self._read("newest_unacknowledged_output", arguments))

    def output_of(self, task_id: str, *, known: int | None = None) -> Output:
        """A task's newest output."""
        return Output.model_validate(self._read("task_output", {"p_task_id": task_id, "p_known": known}))

    def history(self, limit: int, *, before: int | None = None) -> OutputPage:
        """Outputs, newest first, that precede the sequence number `before`."""
        arguments = {"p_after": before, "p_limit": limit}
        return OutputPage.model_validate(self._read("outputs_history", arguments))

    def acknowledge(self, consumer: str, task_id: str, *, up_to_sequence: int | None = None) -> Acknowledgement:
        """Take a task's outputs off what the consumer has yet to see, up to a sequence number if given."""
        arguments = {"p_consumer": consumer, "p_task_id": task_id, "p_sequence": up_to_sequence}
        return Acknowledgement.model_validate(self._database.call("acknowledge_output", arguments))

    def current_context(self, task_id: str | None = None) -> CurrentContext:
        """The context a model is thinking about, else the newest decision's; of one task if given."""
        return CurrentContext.model_validate(self._read("current_context", {"p_task_id": task_id}))

    def mark_processed(self, consumer: str, task_id: str | None = None) -> str | None:
        """Note that a consumer is done with a task's context, or the current one; the task, None without one."""
        arguments = {"p_consumer": consumer, "p_task_id": task_id}
        answer = self._database.call("mark_context_processed", arguments, repeatable=True)
        marked: str | None = answer["task_id"]
        return marked

    def _read(self, function: str, arguments: Row) -> Row:
        answer: Row = self._database.call(function, arguments, repeatable=True)
        return answer
