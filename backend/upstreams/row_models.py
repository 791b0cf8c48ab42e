"""Rows as pydantic models: one a resource, with the resource's own names, and figures that are exact decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from upstreams.json_values import shown
from upstreams.results import ProblemKind, RejectedRow

_ModelT = TypeVar("_ModelT", bound=BaseModel)

# pydantic's names of faults, as the findings name them.
_KINDS = {
    "missing": ProblemKind.MISSING_VALUE,
    "missing_value": ProblemKind.MISSING_VALUE,
    "not_a_number": ProblemKind.NOT_A_NUMBER,
    "finite_number": ProblemKind.NOT_A_NUMBER,
    "malformed_time": ProblemKind.MALFORMED_TIME,
    "greater_than": ProblemKind.IMPLAUSIBLE,
    "greater_than_equal": ProblemKind.IMPLAUSIBLE,
    "less_than_equal": ProblemKind.IMPLAUSIBLE,
}
LONGEST_NUMERAL = 60


def exact(value: object) -> Decimal:
    """A number or a numeral as it is written: a price passes through no float."""
    if value is None or value == "":
        raise PydanticCustomError("missing_value", "is empty")
    if isinstance(value, Decimal):
        found = value
    elif isinstance(value, (int, str)) and not isinstance(value, bool) and len(str(value)) <= LONGEST_NUMERAL:
        try:
            found = Decimal(str(value).strip())
        except ArithmeticError:
            raise PydanticCustomError("not_a_number", "is no number") from None
    else:
        raise PydanticCustomError("not_a_number", "is no number")
    if not found.is_finite():
        raise PydanticCustomError("not_a_number", "is no number")
    return found


def empty_as_none(value: Any) -> Any:
    """A cell without a word in it is a missing value."""
    return None if isinstance(value, str) and not value.strip() else value


Figure = Annotated[Decimal, BeforeValidator(exact)]
"""An exact decimal. Its bounds are the field's own."""


class RowModel(BaseModel):
    """A row of one resource. Fields that nobody reads may come and go; those that are read may not."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def read_row(model: type[_ModelT], row: Any) -> _ModelT:
    """The row as a model.

    Raises:
        RejectedRow: a field is missing or not what it takes; it names the first.
    """
    try:
        return model.model_validate(row)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        raise _verdict(fault) from None


def _verdict(fault: ErrorDetails) -> RejectedRow:
    kind = _KINDS.get(fault["type"], ProblemKind.MALFORMED_ROW)
    place = ".".join(map(str, fault["loc"])) or "the row"
    sent = "" if fault["type"] == "missing" or not fault["loc"] else f" ({shown(fault['input'])})"
    return RejectedRow(kind, f"{place}{sent}: {fault['msg']}")
