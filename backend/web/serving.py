"""Runs a process that serves: logging, signals, the port, the WSGI server."""

from __future__ import annotations

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

from granian import Granian
from granian.constants import Interfaces

from log_lines import log_lines_to

THREADS = 16
MOST_CONNECTIONS = 1024


class Stopped(KeyboardInterrupt):
    """The process was asked to end (Ctrl-C or SIGTERM)."""


class CannotListen(Exception):
    """The address or port cannot be had; the message says which and why."""


def log_to_stderr() -> None:
    """One line an event, UTC times."""
    log_lines_to(sys.stderr)
    for noisy in ("httpx", "httpx2", "apscheduler"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check_port(host: str, port: int) -> None:
    """See whether the address can be listened on.

    Raises:
        CannotListen: the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
            probe.listen(1)
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None


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


def serve(factory: str, host: str, port: int) -> None:
    """Serve the application that `factory` ("module:function") makes until the process is asked to stop.

    It runs in a process of its own, which is started anew if it dies and ends when this one does. Requests that are
    being answered when the end comes get five seconds.
    """
    Granian(
        factory,
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        websockets=False,
        blocking_threads=THREADS,
        backpressure=MOST_CONNECTIONS,
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=5,
    ).serve()


def end_with_parent() -> None:
    """End this process at once when the one that started it dies, so that the port is free for its successor."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), name="parent", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
