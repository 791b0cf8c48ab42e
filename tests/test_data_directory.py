"""Whose the data directory is, before anything in it is believed."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path

import pytest

from beckn.network.keys import KeyUnusable, own_key
from data_directory import DirectoryUntrusted, check_private, trusted_directory
from database.embedded import EmbeddedPostgres, EmbeddedPostgresError

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another account")


def give_away(path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def refusal(directory: Path) -> str:
    """Why a directory is refused, for the keys and for the database alike."""
    with pytest.raises(DirectoryUntrusted) as refused:
        trusted_directory(directory)
    message = str(refused.value)
    assert "\n" not in message
    before = sorted(directory.iterdir())
    with pytest.raises(KeyUnusable, match=re.escape(message)):
        own_key(directory, "gateway.example")
    with pytest.raises(EmbeddedPostgresError, match=re.escape(message)):
        EmbeddedPostgres(directory).start()
    assert sorted(directory.iterdir()) == before
    return message


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_here_is_nobody_else_s_to_read_or_write(tmp_path: Path, umask: int) -> None:
    directory = tmp_path / "made" / "here"
    before = os.umask(umask)
    try:
        own_key(directory, "gateway.example")
    finally:
        os.umask(before)
    # Root's own lets the account that runs the database pass through.
    assert stat.S_IMODE(directory.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE((directory / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    assert trusted_directory(directory) == directory.resolve()
    assert stat.S_IMODE(directory.stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o702])
def test_a_directory_in_which_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    assert "chmod go-w" in refusal(directory)


def test_a_directory_that_anybody_may_replace_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "open" / "data"
    directory.mkdir(parents=True)
    directory.parent.chmod(0o777)
    assert f"chmod o-w {directory.parent}" in refusal(directory)
    directory.parent.chmod(0o1777)
    assert trusted_directory(directory) == directory.resolve()


def test_a_link_of_one_s_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert trusted_directory(tmp_path / "link") == (tmp_path / "real").resolve()
    with pytest.raises(DirectoryUntrusted, match="is a link"):
        check_private(tmp_path / "link")


@only_as_root
def test_a_directory_that_another_account_made_first_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    give_away(directory)
    assert "belongs to the account nobody" in refusal(directory)


@only_as_root
def test_a_link_that_another_account_put_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    give_away(link)
    assert "the link belongs to the account nobody" in refusal(link)


@only_as_root
@pytest.mark.parametrize("what", ["keys", "keys/gateway.example.json"])
def test_keys_that_another_account_put_there_are_not_read(tmp_path: Path, what: str) -> None:
    own_key(tmp_path, "gateway.example")
    give_away(tmp_path / what)
    with pytest.raises(KeyUnusable, match="belongs to the account nobody"):
        own_key(tmp_path, "gateway.example")


def test_a_key_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    own_key(tmp_path, "gateway.example")
    file = tmp_path / "keys" / "gateway.example.json"
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(KeyUnusable, match="is a link"):
        own_key(tmp_path, "gateway.example")
