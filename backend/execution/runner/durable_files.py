"""Files that are there whole or not at all, whatever dies when. Only the standard library: an attendant loads it."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_document(file: Path, document: Any) -> None:
    """Put a JSON document in the place of `file`, private to this account, and on the disk when this returns."""
    fresh = _written_beside(file, document)
    fresh.replace(file)
    _sync_directory(file.parent)


def create_document(file: Path, document: Any) -> bool:
    """The same, unless the file is there already: of several who try at once, one is told True."""
    fresh = _written_beside(file, document)
    try:
        os.link(fresh, file)
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    _sync_directory(file.parent)
    return True


def read_document(file: Path) -> Any:
    """The document, or None where there is no such file.

    Raises:
        ValueError: it is no JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _written_beside(file: Path, document: Any) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    return fresh


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
