"""Heads of the chains that are kept outside of the database, against which whoever owns it can do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from decisions.chain.stored import Head


class NoHeads(Exception):
    """A text holds no exported heads; the message says why."""


class ExportedHeads(BaseModel):
    """What `audit.py head` writes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    form: Literal["pylon decision 1"] = "pylon decision 1"
    taken_at: datetime
    heads: list[Head]
    flexibility_heads: list[Head] = []
    """Of the decisions on flexibility events; none in what earlier programs wrote."""


def read_heads(text: str) -> ExportedHeads:
    """Raises:
    NoHeads: it is not what `audit.py head` writes.
    """
    try:
        return ExportedHeads.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise NoHeads(f"{where}: {fault['msg']}" if where else fault["msg"]) from None


def by_position(exports: Iterable[Sequence[Head]]) -> Mapping[str, Mapping[int, str]]:
    """Operator → position → hash, of several exports of one log together.

    Raises:
        NoHeads: two of them disagree, so that one of them is not of this log.
    """
    found: dict[str, dict[int, str]] = {}
    for heads in exports:
        for head in heads:
            known = found.setdefault(head.operator, {}).setdefault(head.position, head.hash)
            if known != head.hash:
                raise NoHeads(f"the exports disagree on position {head.position} of {head.operator}")
    return found
