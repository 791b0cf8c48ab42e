"""A quarter of the examples for the everyday suite; all of them where the long proofs are run too, as in CI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

FEWEST = 25
"""A test that asks for hardly more keeps all of its own."""

OF_HYPOTHESIS = "_hypothesis_internal_use_settings"
"""Where `@given` keeps the settings of a test, and Hypothesis's own plugin for pytest looks for them."""


def is_everyday(markers: str) -> bool:
    """Whether the long proofs are left out, as pytest's `-m` says."""
    return "not thorough" in markers


def everyday(asked: int) -> int:
    """How many examples are tried of so many that a test asks for."""
    return max(asked // 4, min(asked, FEWEST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not is_everyday(config.option.markexpr):
        return
    functions: dict[int, Callable[..., Any]] = {
        id(item.function): item.function for item in items if isinstance(item, pytest.Function)
    }
    for function in functions.values():
        own = getattr(function, OF_HYPOTHESIS, None)
        if own is not None:
            setattr(function, OF_HYPOTHESIS, settings(own, max_examples=everyday(own.max_examples)))
