"""The id of a slot, written and read."""

from __future__ import annotations

import pytest

from beckn.catalogue.slot import Slot
from decision_contexts import NOON


def test_an_item_id_is_read_back() -> None:
    slot = Slot("DC:1", NOON)
    assert slot.item_id == "DC:1:gpu-slot:20261122T1200Z"
    assert Slot.parse(slot.item_id) == slot


@pytest.mark.parametrize(
    "item_id", ["", "DC-001", "DC-001:gpu-slot:20261122T1215Z", "DC-001:gpu-slot:20261322T1200Z", ":gpu-slot:1"]
)
def test_what_is_no_slot_is_refused(item_id: str) -> None:
    with pytest.raises(ValueError):
        Slot.parse(item_id)
