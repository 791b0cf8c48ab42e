"""Models with the fields of a workload in a shape of their own, made from what the declaration says of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from workloads.model import About

ModelT = TypeVar("ModelT", bound=BaseModel)
Shape = Callable[[FieldInfo, About], "tuple[Any, Any] | None"]
"""The type and the `Field` that a field is to have; None leaves it as it is."""


def reshaped(shape: Shape) -> Callable[[type[ModelT]], type[ModelT]]:
    """A decorator: the same model, with every field that it inherits from the declaration in another shape.

    What the model declares itself stays as it declares it. The order of the fields is the declaration's.
    """

    def reshape(model: type[ModelT]) -> type[ModelT]:
        fields: dict[str, Any] = {
            name: new
            for name, field in model.model_fields.items()
            if (about := said_of(field)) and (new := shape(field, about))
        }
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return reshape


def said_of(field: FieldInfo) -> About | None:
    """What the declaration says of a field; None where a model declares the field itself."""
    return next((each for each in field.metadata if isinstance(each, About)), None)
