"""Parameters that several endpoints take."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# No control characters: PostgreSQL's text has no NUL, and none of our keys has the others.
PlainText = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]


CACHE_BUSTER = "_"
"""What some clients add to an address, with the time, so that no cache knows it."""


class StrictQuery(BaseModel):
    """Refuses query parameters by their names, rather than ignoring a misspelt one; but for a cache-buster."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_cache_buster(cls, given: Any) -> Any:
        if isinstance(given, dict) and CACHE_BUSTER in given:
            return {name: value for name, value in given.items() if name != CACHE_BUSTER}
        return given

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        # flask-openapi3 asks at every request, and making it takes longer than most requests' own work.
        return super().model_json_schema(*args, **options) if args or options else cls._usual_schema()

    @classmethod
    @cache
    def _usual_schema(cls) -> dict[str, Any]:
        return super().model_json_schema()


class NoParameters(StrictQuery):
    """Of an endpoint that takes none."""


class Paged(StrictQuery):
    """A page of a list."""

    limit: int = Field(100, ge=1, le=1000, description="How many to return at most")
    after: PlainText | None = Field(None, description="Go on after this: `next` of the previous answer")
