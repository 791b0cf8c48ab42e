"""Where databases of tests keep their data: in memory where there is room, so that syncing costs nothing.

Tests kill servers and never the machine: what a killed server had written is there, synced or not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOM_BYTES = 2 << 30


def memory_disk() -> str | None:
    """A folder on a disk in memory, or None, which `tempfile` takes for the usual place."""
    folder = Path("/dev/shm")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return None
    may_hold_programs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return str(folder) if may_hold_programs and shutil.disk_usage(folder).free > ROOM_BYTES else None
