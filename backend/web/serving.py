"""Runs a process that serves: logging, the listening socket, signals, the WSGI server."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from types import FrameType

from flask import Flask
from waitress.server import create_server

THREADS = 16
# The application refuses bodies over 1 MiB with an answer of its own; this only bounds what is read until then.
MAX_TRANSPORT_BYTES = 16 * 1024 * 1024


class Stopped(KeyboardInterrupt):
    """The process was asked to end (Ctrl-C or SIGTERM)."""


class CannotListen(Exception):
    """The address or port cannot be had; the message says which and why."""


def log_to_stderr() -> None:
    """One line an event, UTC times."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx", "httpx2", "apscheduler", "waitress"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        CannotListen: the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listening


def stop_on_signals() -> None:
    """Let SIGTERM end the process as Ctrl-C does: by raising `Stopped` in the main thread."""

    def stop(_: int, __: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the shutdown itself is not interrupted
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def serve(application: Flask, listening: socket.socket) -> None:
    """Answer requests until the process is asked to stop; requests that are being answered get five seconds."""
    server = create_server(
        application,
        sockets=[listening],
        threads=THREADS,
        ident=None,
        clear_untrusted_proxy_headers=True,
        max_request_body_size=MAX_TRANSPORT_BYTES,
    )
    server.run()
