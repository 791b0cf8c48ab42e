"""Our own rules of Beckn find fault with what is at fault; the real messages are judged by them in other tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from beckn_examples import EXAMPLES
from beckn_rules import OF_AN_ORDER
from beckn_specification import message_faults


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document, itself included."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(child)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_object_takes_a_field_that_beckn_does_not_know(name: str) -> None:
    for number, _ in enumerate(objects(EXAMPLES[name])):
        changed = copy.deepcopy(EXAMPLES[name])
        list(objects(changed))[number]["colour"] = "blue"
        assert message_faults(changed)


@pytest.mark.parametrize("value", [None, 7.5])
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_field_takes_null_or_a_number_with_a_fraction(name: str, value: Any) -> None:
    for number, place in enumerate(objects(EXAMPLES[name])):
        for field in set(place) - {"context", "action"}:  # they choose the rules
            changed = copy.deepcopy(EXAMPLES[name])
            list(objects(changed))[number][field] = value
            assert message_faults(changed), field


@pytest.mark.parametrize("action", OF_AN_ORDER)
def test_an_order_without_what_its_action_requires_is_at_fault(action: str) -> None:
    for field in OF_AN_ORDER[action].split():
        changed = copy.deepcopy(EXAMPLES[action])
        del changed["message"]["order"][field]
        assert message_faults(changed), field


@pytest.mark.parametrize("action", ["on_search", "on_select", "on_cancel"])
def test_a_callback_has_a_message_or_an_error(action: str) -> None:
    error = EXAMPLES["on_select-error"]["error"]
    assert message_faults({**EXAMPLES[action], "error": error})
    assert message_faults({"context": EXAMPLES[action]["context"]})
