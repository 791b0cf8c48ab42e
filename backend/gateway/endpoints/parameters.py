"""Parameters that several of the gateway's endpoints take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

KEY = r"^[A-Za-z0-9._:-]{1,64}$"
DEFAULT_CONSUMER = "bpp"
LAST_SEQUENCE = 2**63 - 1


def _number(value: object) -> object:
    # Pydantic would also take true for 1, and text.
    if isinstance(value, bool | str):
        raise PydanticCustomError("number", "must be a whole number")
    return value


Consumer = Annotated[str, StringConstraints(pattern=KEY)]
TaskId = Annotated[str, StringConstraints(pattern=KEY)]
Sequence = Annotated[int, Field(ge=0, le=LAST_SEQUENCE)]
JsonSequence = Annotated[Sequence, BeforeValidator(_number)]
