"""Parameters that several endpoints take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# No control characters: PostgreSQL's text has no NUL, and none of our keys has the others.
PlainText = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]


class NoParameters(BaseModel):
    """Refuses query parameters by their names, rather than ignoring a misspelt one."""

    model_config = ConfigDict(extra="forbid")


class Paged(NoParameters):
    """A page of a list."""

    limit: int = Field(100, ge=1, le=1000, description="How many to answer at most")
    after: PlainText | None = Field(None, description="Go on after this: the `next` of the answer before")
