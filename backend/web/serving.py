"""What the processes that serve have in common: logging, signals, the port."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from log_lines import log_lines_to
from settings import wants_json_logs

WAITING_CONNECTIONS = 1024
# What the kernel keeps for a client that does not read; Linux doubles it.
SEND_BUFFER_BYTES = 128 * 1024


class CannotListen(Exception):
    """The address or port cannot be had; the message says which and why."""


class Stopped(KeyboardInterrupt):
    """The process was asked to end (Ctrl-C or SIGTERM)."""


def log_to_stderr() -> None:
    """One line an event, UTC times; JSON where LOG_FORMAT says so."""
    log_lines_to(sys.stderr, as_json=wants_json_logs())
    for noisy in ("httpx", "httpx2", "apscheduler"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def listen(host: str, port: int) -> socket.socket:
    """A socket on which connections may wait for a server.

    Raises:
        CannotListen: the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=WAITING_CONNECTIONS)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {_why(error)}") from None
    # Those that are accepted have it too.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener


def _why(error: OSError) -> str:
    why = str(error.strerror).partition(" (")[0]  # Python repeats the address there
    if error.errno == errno.EADDRINUSE:
        return f"{why}: stop the program that has the port, or choose another in the settings"
    return why


def check_port(host: str, port: int) -> None:
    """See whether the address can be listened on.

    Raises:
        CannotListen: the port is taken or the address is not this machine's.
    """
    listen(host, port).close()


def run_until_stopped(name: str, run: Callable[[], None], refusals: tuple[type[Exception], ...]) -> int:
    """Run a server process, with its log, until Ctrl-C or SIGTERM; returns its exit status.

    Args:
        refusals: what `run` raises when it cannot start; one line then says why, and the status is 1.
    """
    log_to_stderr()
    stop_on_signals()
    log = logging.getLogger(name)
    try:
        run()
    except refusals as error:
        log.error("not started: %s", error)  # noqa: TRY400 - one line, not a trace
        return 1
    except Stopped:
        pass
    log.info("stopped")
    return 0


def stop_on_signals() -> None:
    """Let SIGTERM end the process as Ctrl-C does: by raising `Stopped` in the main thread."""

    def stop(_: int, __: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the shutdown itself is not interrupted
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def end_with_parent() -> None:
    """End this process at once when the one that started it dies, so that the port is free for its successor."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), name="parent", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
