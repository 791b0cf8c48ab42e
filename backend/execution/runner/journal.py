"""What a runner knows of its runs, kept in its state directory, so that a runner that is killed goes on where it was.

lock                    held by the one runner that uses the directory
server_time.json        an `Anchor`
runs/<run_id>-<fence>/  one run: run.json (a `RunRecord`), and what its attendant writes
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from execution.runner.durable_files import read_document, write_document
from execution.runner.metering import Meter
from execution.runner.protocol import Fence, Finish, OfferedRun
from execution.runner.server_time import Anchor
from printable import printable
from vocabulary import StrEnum

log = logging.getLogger(__name__)

_LOCK_PATIENCE_S = 2.0  # an attendant looks at the lock for a moment now and then


class DirectoryInUse(Exception):
    """Another runner uses the state directory; the message says so in a line."""


class RunState(StrEnum):
    """How far a run has come here."""

    TAKEN = "taken"
    BEGUN = "begun"
    """The server knows that it starts here; from now on it may have been started."""
    ENDED = "ended"


class RunRecord(BaseModel):
    """One run."""

    model_config = ConfigDict(validate_assignment=True)

    run_id: int
    fence: Fence
    job_id: str
    template: str
    parameters: dict[str, str]
    power_kw: float
    mark: str = Field(default_factory=lambda: secrets.token_hex(12))
    state: RunState = RunState.TAKEN
    is_to_end: bool = False
    meter: Meter | None = None
    outcome: Finish | None = None

    @classmethod
    def of(cls, offered: OfferedRun, power_kw: float) -> RunRecord:
        return cls(
            run_id=offered.run_id,
            fence=offered.fence,
            job_id=offered.job_id,
            template=offered.template,
            parameters=offered.parameters,
            power_kw=power_kw,
        )


class Journal:
    """The state directory, used by this process alone until it ends."""

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            DirectoryInUse: another runner uses it.
            OSError: it cannot be made or written.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.lock_file = directory / "lock"
        self._anchor_file = directory / "server_time.json"
        self._runs = directory / "runs"
        self._runs.mkdir(mode=0o700, exist_ok=True)
        self._lock = _locked(self.lock_file)

    def close(self) -> None:
        """Let another runner use it."""
        os.close(self._lock)

    def directory_of(self, record: RunRecord) -> Path:
        return self._runs / f"{record.run_id}-{record.fence}"

    def write(self, record: RunRecord) -> None:
        """Keep a run as it is now.

        Raises:
            OSError: it cannot be written; what was kept before is still there.
        """
        directory = self.directory_of(record)
        directory.mkdir(mode=0o700, exist_ok=True)
        write_document(directory / "run.json", record.model_dump(mode="json"))

    def forget(self, record: RunRecord) -> None:
        """Remove a run, and what its command left in its directory."""
        # Its record goes first: what is left of a directory without one is removed at the next start.
        (self.directory_of(record) / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory_of(record), ignore_errors=True)

    def records(self) -> Iterator[RunRecord]:
        """Every run that is kept. One that cannot be read is left where it is, and told in the log."""
        for directory in sorted(self._runs.iterdir()):
            record = _read(directory)
            if record is not None:
                yield record

    def anchor(self) -> Anchor | None:
        """The server's time as it was kept, if it was."""
        try:
            document = read_document(self._anchor_file)
            return None if document is None else Anchor.model_validate(document)
        except (OSError, ValueError, ValidationError):
            return None

    def keep_anchor(self, anchor: Anchor) -> None:
        write_document(self._anchor_file, anchor.model_dump(mode="json"))


def _read(directory: Path) -> RunRecord | None:
    try:
        document: Any = read_document(directory / "run.json")
        if document is not None:
            return RunRecord.model_validate(document)
    except (OSError, ValueError) as error:
        log.error("%s cannot be read, and is left alone: %s", directory, printable(error))  # noqa: TRY400
        return None
    shutil.rmtree(directory, ignore_errors=True)  # its run was forgotten
    return None


def _locked(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    ends_at = time.monotonic() + _LOCK_PATIENCE_S
    while not _takes_lock(descriptor):
        if time.monotonic() >= ends_at:
            os.close(descriptor)
            raise DirectoryInUse(f"another runner uses {file.parent}: give each a state_directory")
        time.sleep(0.05)
    return descriptor


def _takes_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
