"""Models in a shape of their own, made from the declaration."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from workloads.model import About, AmountOf, WorkloadNeeds
from workloads.reshaping import reshaped


def _up_to_what_is_submitted(_field: FieldInfo, about: About) -> tuple[Any, Any] | None:
    if not isinstance(about, AmountOf):
        return None
    return about.number, Field(0, le=about.most_submitted, description=about.question)


@reshaped(_up_to_what_is_submitted)
class Asked(WorkloadNeeds):
    """What a test asks for."""

    required_gpu_mins: float = Field(7, description="its own")

    def gpu_hours(self) -> float:
        return self.required_gpu_mins / 60


def test_a_field_takes_the_shape_that_follows_from_the_declaration() -> None:
    memory = Asked.model_fields["required_memory_gb"]
    assert (memory.annotation, memory.default, memory.description) == (float, 0, "Memory it takes, GB")
    with pytest.raises(ValidationError, match="less than or equal to 1000000"):
        Asked.model_validate({"workload_type": "OTHER", "required_cpu_cores": 1_000_001})


def test_what_the_model_declares_itself_and_what_has_no_new_shape_stays() -> None:
    assert Asked.model_fields["required_gpu_mins"].description == "its own"
    assert str(Asked.model_fields["deadline"]) == str(WorkloadNeeds.model_fields["deadline"])


def test_it_is_the_same_model_to_whoever_uses_it() -> None:
    assert (Asked.__name__, Asked.__module__, Asked.__doc__) == ("Asked", __name__, "What a test asks for.")
    assert list(Asked.model_fields) == list(WorkloadNeeds.model_fields)
    assert Asked.model_validate({"workload_type": "OTHER", "required_gpu_mins": 90}).gpu_hours() == 1.5
