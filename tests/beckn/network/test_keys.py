"""This machine's keys: made once, the same for all, and nobody else's to read."""

from __future__ import annotations

import json
import stat
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from beckn.network.keys import KeyUnusable, MessageSigner, own_key
from beckn.protocol.signing import SignatureHeader, verify
from grid.half_hours import UTC

NOW = datetime(2026, 11, 22, 8, 4, 11, tzinfo=UTC)


def key_file(folder: Path) -> Path:
    return folder / "keys" / "gateway.example.json"


def test_a_key_is_made_on_first_use_and_is_the_same_ever_after(tmp_path: Path) -> None:
    first, second = own_key(tmp_path, "gateway.example"), own_key(tmp_path, "gateway.example")
    assert (first.key_id, first.signing.public_key) == (second.key_id, second.signing.public_key)
    assert own_key(tmp_path, "provider.example").key_id != first.key_id


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    own_key(tmp_path / "new" / "place", "gateway.example")
    file = key_file(tmp_path / "new" / "place")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o700])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    own_key(tmp_path, "gateway.example")
    key_file(tmp_path).chmod(mode)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        own_key(tmp_path, "gateway.example")


@pytest.mark.parametrize("content", ["", "no JSON", "{}", '{"key_id": "1", "secret": "x"}', "\udcff"])
def test_a_damaged_file_is_told_from_a_key_and_not_replaced(tmp_path: Path, content: str) -> None:
    own_key(tmp_path, "gateway.example")
    key_file(tmp_path).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(KeyUnusable, match="restore it, or delete it"):
        own_key(tmp_path, "gateway.example")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where a folder should be")
    with pytest.raises(KeyUnusable, match=r"keys/gateway\.example\.json cannot be used"):
        own_key(tmp_path, "gateway.example")


def test_an_id_that_could_lead_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot name a file"):
        own_key(tmp_path, "../gateway")


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    ready = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        ready.wait()
        found.append(own_key(tmp_path, "gateway.example").key_id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [json.loads(key_file(tmp_path).read_text())["key_id"]] * 8


def test_a_signer_signs_in_its_subscribers_name(tmp_path: Path) -> None:
    key = own_key(tmp_path, "gateway.example")
    authorization = MessageSigner("gateway.example", key).authorization(
        b"{}", now=NOW, expires=NOW + timedelta(seconds=30)
    )
    header = SignatureHeader.parse(authorization)
    assert (header.subscriber_id, header.key_id) == ("gateway.example", key.key_id)
    verify(header, b"{}", public_key=key.signing.public_key, now=NOW)
