"""Parameters that several of the gateway's endpoints take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

KEY = r"^[A-Za-z0-9._:-]{1,64}$"
DEFAULT_CONSUMER = "bpp"
LAST_SEQUENCE = 2**63 - 1

Consumer = Annotated[str, StringConstraints(pattern=KEY)]
TaskId = Annotated[str, StringConstraints(pattern=KEY)]
Sequence = Annotated[int, Field(ge=0, le=LAST_SEQUENCE)]
# In a JSON body, where a number is a number.
JsonSequence = Annotated[int, Field(ge=0, le=LAST_SEQUENCE, strict=True)]
