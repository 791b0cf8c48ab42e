"""The data directory: the database and the signing keys are in it, so whoever may write there may be us.

It is made private, and one that is there already is looked at before anything in it is read or started.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
ELSEWHERE = "or set PYLON_DATA_DIR to a directory of this account's own"


class DirectoryUntrusted(Exception):
    """Another account has, or may put, its own files there; the message is one line that says what to do."""


def trusted_directory(data_dir: Path) -> Path:
    """The data directory without links in its path, made if it is not there, and nobody else's to write in.

    Raises:
        DirectoryUntrusted: it is another account's, or others may write in it or put another in its place.
        OSError: it cannot be made or looked at.
    """
    named = data_dir.expanduser().absolute()
    if named.is_symlink():
        _check_owner(named, "the link")
    resolved = named.resolve()
    # Root's own directory lets the account that runs the database pass through, and no more.
    make_directory(resolved, 0o711 if os.geteuid() == 0 else 0o700)
    check_private(resolved)
    for above in resolved.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise DirectoryUntrusted(
                f"anybody could put another directory in place of {resolved}: chmod o-w {above}, {ELSEWHERE}"
            )
    return resolved


def check_private(path: Path) -> None:
    """See that a directory or file is this account's, or root's, and no link, and that no other may write in it.

    Raises:
        DirectoryUntrusted: it is not so.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise DirectoryUntrusted(f"{path} is a link: remove it, {ELSEWHERE}")
    _check_owner(path, "it")
    if found.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise DirectoryUntrusted(
            f"others may write to {path} (mode {mode:04o}): check that everything in it is yours and chmod go-w it, "
            f"{ELSEWHERE}"
        )


def make_directory(path: Path, mode: int) -> None:
    """Make a directory with exactly this mode, whatever the umask; leave one that is there as it is.

    It appears with its mode already set: a process that starts at the same moment must not see another.
    """
    if path.is_dir():
        return
    for above in reversed([above for above in path.parents if not above.exists()]):
        above.mkdir(mode=0o755, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".pylon-", dir=path.parent))
    fresh.chmod(mode)
    try:
        fresh.rename(path)
    except OSError:
        fresh.rmdir()
        if not path.is_dir():
            raise


def _check_owner(path: Path, what: str) -> None:
    owner = path.lstat().st_uid
    if owner not in {os.geteuid(), 0}:
        raise DirectoryUntrusted(
            f"{path} is not used because {what} belongs to {_account(owner)}: start as that account, remove it, "
            f"{ELSEWHERE}"
        )


def _account(uid: int) -> str:
    try:
        return f"the account {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"another account (uid {uid})"
