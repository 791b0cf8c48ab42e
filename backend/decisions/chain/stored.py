"""The stored chains, read in pieces so that a long log needs no more memory than a short one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from database.errors import DatabaseError
from database.interface import Database
from decisions.chain.form import DECISION, FLEXIBILITY_DECISION, ChainedDecision, Form, grid_hash

PAGE_ROWS = 200
GRIDS_REMEMBERED = 1000  # by their hashes: neighbours in the log share a grid

Read = TypeVar("Read", bound=BaseModel)


class Head(BaseModel):
    """The end of an operator's chain, or where it ended once."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    operator: str
    position: int = Field(ge=1)
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    decision_id: str | None = None


class StoredHead(BaseModel):
    """As the database tells it, which its owner may have spoiled."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    operator: str
    position: int
    hash: str | None
    decision_id: str


class StoredHeads(BaseModel):
    """Where all chains end, and decisions that are in none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    heads: list[StoredHead]
    unchained: list[str]


class _StoredDecision(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    texts: list[str | None]
    hash: str | None


@dataclass(frozen=True)
class Log:
    """One audit log: its form, and the functions that read it."""

    form: Form
    heads: str
    chain: str


DECISIONS = Log(DECISION, "decision_heads", "decision_chain")
FLEXIBILITY_DECISIONS = Log(FLEXIBILITY_DECISION, "flexibility_decision_heads", "flexibility_decision_chain")


class StoredChains:
    """An audit log behind any of the database's doors."""

    def __init__(self, database: Database, log: Log = DECISIONS, *, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._log = log
        self._page_rows = page_rows
        self._grids: OrderedDict[str, str | None] = OrderedDict()

    def heads(self) -> StoredHeads:
        """Where the chains end now.

        Raises:
            DatabaseError: the database does not answer, or has no chains.
        """
        return _read(StoredHeads, self._call(self._log.heads, {}))

    def decisions(self, operator: str) -> Iterator[ChainedDecision]:
        """An operator's decisions in the order of their positions, those included that are published meanwhile.

        Raises:
            DatabaseError: the database does not answer, or has no chains.
        """
        position: int | None = None
        decision_id: str | None = None
        while True:
            page = self._call(
                self._log.chain,
                {
                    "p_operator": operator,
                    "p_after_position": position,
                    "p_after_decision": decision_id,
                    "p_limit": self._page_rows,
                },
            )
            if not page:
                return
            for row in page:
                decision = self._decision(_read(_StoredDecision, row))
                yield decision
            position, decision_id = decision.position, decision.texts["decision_id"]

    def _decision(self, stored: _StoredDecision) -> ChainedDecision:
        form = self._log.form
        if len(stored.texts) != len(form.columns):
            raise DatabaseError(
                f"the database does not answer with a chain: {len(stored.texts)} columns, and not {len(form.columns)}"
            )
        return ChainedDecision(dict(zip(form.columns, stored.texts, strict=True)), stored.hash, form)

    def grid_hash_of(self, digest: str) -> str | None:
        """The SHA-256 of the grid that is stored under a digest, in hexadecimal; None where there is none.

        Raises:
            DatabaseError: the database does not answer.
        """
        if digest not in self._grids:
            grid = self._call("decision_grid", {"p_digest": digest})["grid"]
            self._grids[digest] = None if grid is None else grid_hash(grid)
            if len(self._grids) > GRIDS_REMEMBERED:
                self._grids.popitem(last=False)
        return self._grids[digest]

    def _call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        return self._database.call(function, arguments, repeatable=True)


def _read(model: type[Read], document: Any) -> Read:
    """Raises:
    DatabaseError: the answer is none of the functions' that this program brought.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise DatabaseError(f"the database does not answer with a chain: {error.errors()[0]['msg']}") from None
