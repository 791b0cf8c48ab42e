"""The bytes of a decision that are hashed: made here from what is stored, and not by the database that is checked.

A decision's bytes are lines of UTF-8, each ended by a line feed. The first names the log's form, `pylon decision 1`.
Then comes one for each of its columns, in that order: its name, `=`, and either `-` for null or the text's number of
bytes, `:`, and the text. Texts are as PostgreSQL writes them: a jsonb with its keys in PostgreSQL's order, the
published output as it was stored, a time as the seconds since 1970-01-01T00:00:00Z with six decimals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How the rows of one audit log are written.

    `name` is the first line, `columns` are all but the hash itself, and `subject` is the column of what a decision is
    about.
    """

    name: str
    columns: tuple[str, ...]
    subject: str


COLUMNS = (
    "chain_position",
    "previous_hash",
    "tenant",
    "tenant_sequence",
    "sequence",
    "decision_id",
    "notification_id",
    "job_id",
    "agent_id",
    "chosen_dc_id",
    "recommended_start",
    "scorer",
    "model",
    "scorer_version",
    "fallback_reason",
    "reasoning",
    "constraints_evaluated",
    "alternatives_considered",
    "context",
    "output",
    "token_usage",
    "decided_at",
    "grid_digest",
)
DECISION = Form("pylon decision 1", COLUMNS, "job_id")
"""`orchestration_decisions`: where and when each workload runs."""

FLEXIBILITY_DECISION = Form(
    "pylon flexibility decision 1",
    (
        "chain_position",
        "previous_hash",
        "tenant",
        "decision_id",
        "event_id",
        "from_state",
        "to_state",
        "reason",
        "content",
        "decided_at",
    ),
    "event_id",
)
"""`flexibility_decisions`: why each flexibility event went from one state to the next."""

Texts = Mapping[str, str | None]


@dataclass(frozen=True)
class ChainedDecision:
    """A stored decision: the texts of its form's columns, and the hash that is stored with them."""

    texts: Texts
    hash: str | None
    form: Form = DECISION

    @property
    def position(self) -> int:
        """Its place in its operator's chain: 1, 2, 3 …"""
        return int(self.texts["chain_position"] or 0)

    @property
    def previous_hash(self) -> str | None:
        return self.texts["previous_hash"]

    @property
    def subject(self) -> str | None:
        """What it is about: a workload or an event."""
        return self.texts[self.form.subject]


def canonical_bytes(texts: Texts, form: Form = DECISION) -> bytes:
    """What is hashed of a decision."""
    lines = [form.name.encode()]
    for name in form.columns:
        value = texts[name]
        if value is None:
            lines.append(f"{name}=-".encode())
        else:
            written = value.encode()
            lines.append(b"%s=%d:%s" % (name.encode(), len(written), written))
    return b"\n".join(lines) + b"\n"


def decision_hash(texts: Texts, form: Form = DECISION) -> str:
    """The SHA-256 of a decision's bytes, in hexadecimal."""
    return hashlib.sha256(canonical_bytes(texts, form)).hexdigest()


def grid_hash(grid: str) -> str:
    """The SHA-256 of a stored grid, which decisions name it by."""
    return hashlib.sha256(grid.encode()).hexdigest()
