"""Whether the embedded database has room left: what fits into the files that there are is written on a full disk too,
so trying to write tells nothing until a file has to grow."""

from __future__ import annotations

import shutil

from settings import Settings

LEAST_FREE_BYTES = 64 * 1024 * 1024
"""Four files of PostgreSQL's log, without which it takes no write at all."""


def data_disk_troubles(settings: Settings) -> list[str]:
    """That the disk of the embedded database is full or nearly so, in words; empty where it is not, or not ours."""
    if settings.supabase_url or settings.database_url:
        return []
    directory = settings.pylon_data_dir / "postgres"
    try:
        free_bytes = shutil.disk_usage(directory).free
    except OSError:  # not made yet, or gone: who asks the database is told so
        return []
    if free_bytes >= LEAST_FREE_BYTES:
        return []
    return [
        f"the disk of {directory} has {free_bytes // 1024**2} MB left: a full one makes the database refuse writes, "
        "so make room there"
    ]
