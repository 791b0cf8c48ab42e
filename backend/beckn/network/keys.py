"""This machine's own signing keys: made on first start, kept outside the repository, readable by nobody else."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from pydantic import BaseModel, Field, ValidationError

from beckn.protocol.signing import SigningKey, sign
from beckn.protocol.values import KeyId
from data_directory import DirectoryUntrusted, check_private, make_directory, trusted_directory

FOLDER = "keys"
_ONLY_OWNER = 0o600
_FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


class KeyUnusable(Exception):
    """A key cannot be read or made; the message says where, and what to do."""


@dataclass(frozen=True)
class OwnKey:
    """A private key and the id under which a registry knows its public half."""

    key_id: str
    signing: SigningKey


@dataclass(frozen=True)
class MessageSigner:
    """Signs for one subscriber."""

    subscriber_id: str
    key: OwnKey

    def authorization(self, body: bytes, *, now: datetime, expires: datetime) -> str:
        """The value of the header that signs `body` from `now` until `expires`."""
        return sign(
            body,
            key=self.key.signing,
            subscriber_id=self.subscriber_id,
            key_id=self.key.key_id,
            created=now,
            expires=expires,
        )


class _KeyFile(BaseModel):
    key_id: Annotated[KeyId, Field(pattern=r"^[ -~]+$")]  # it goes into a header
    secret: str


def own_key(data_dir: Path, subscriber_id: str) -> OwnKey:
    """The key of one of this machine's subscribers, in `data_dir/keys`; made when there is none.

    Processes that make it at the same time end up with one and the same.

    Raises:
        KeyUnusable: the file cannot be read, made or understood, or others may read it, or have put it there.
    """
    if not _FILE_NAME.fullmatch(subscriber_id):
        raise KeyUnusable(
            f"the subscriber id {subscriber_id!r} cannot name a file: use letters, digits, dots and dashes"
        )
    file = data_dir / FOLDER / f"{subscriber_id}.json"
    try:
        file = trusted_directory(data_dir) / FOLDER / file.name
        make_directory(file.parent, 0o700)
        check_private(file.parent)
        if not file.exists():
            _make(file)
        return _read(file)
    except DirectoryUntrusted as error:
        raise KeyUnusable(f"the signing key of {subscriber_id} cannot be used: {error}") from None
    except OSError as error:
        raise KeyUnusable(f"the signing key {file} cannot be used: {error.strerror or error}") from error


def _make(file: Path) -> None:
    content = _KeyFile(key_id=str(uuid4()), secret=SigningKey.generate().secret())
    # Written whole under another name, which mkstemp lets nobody else read, then linked: it is never seen half made.
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(content.model_dump_json())
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):  # another process was quicker: its key it is
            os.link(draft, file)
    finally:
        Path(draft).unlink()


def _read(file: Path) -> OwnKey:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & ~_ONLY_OWNER:
        raise KeyUnusable(f"the signing key {file} has mode {mode:04o}, so others may read it: chmod 600 it")
    check_private(file)
    try:
        content = _KeyFile.model_validate(json.loads(file.read_text(encoding="utf-8")))
        return OwnKey(content.key_id, SigningKey.from_secret(content.secret))
    except (ValueError, ValidationError):
        raise KeyUnusable(
            f"{file} does not hold a signing key: restore it, or delete it and a new one is made at the next start"
        ) from None
