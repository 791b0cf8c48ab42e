"""Serves an application that blocks, in a process of its own, and watches over it.

The process has gevent's loop in its main thread, which reads requests and sends answers, and the application in
others.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import signal
import socket
import sys
import time
from contextlib import ExitStack, closing
from importlib import import_module
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event as Signal

from queueing.backoff import Backoff
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets, most_connections
from web.serving import end_with_parent, listen, log_to_stderr
from web.worker_threads import ThreadedApplication

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 1024
# Those that wait for a thread among them.
MOST_REQUESTS = 64

# A serving process that dies is started again after a pause, which grows while that does not help.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# Requests that are being answered get the first, and the application's own threads what then is left of the second.
REQUESTS_END_WITHIN_S = 5.0
END_WITHIN_S = 10.0

Refusals = tuple[type[Exception], ...]


def serve(factory: str, host: str, port: int, refusals: Refusals = ()) -> None:
    """Serve the application of `factory` ("module:function"), a context manager, until this process is asked to stop.

    The process that serves is started anew if it dies, and ends when this one does. The socket is this one's, so the
    clients wait meanwhile.

    Args:
        refusals: what `factory` raises when it cannot make the application; one line then says why.

    Raises:
        CannotListen: the port is taken.
    """
    with closing(listen(host, port)) as listener:
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            began = time.monotonic()
            status = _run_serving_process(factory, listener, refusals)
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pauses.reset()
            pause_s = pauses.next_s()
            log.error("the serving process ended with status %s, restarting it in %.1f s", status, pause_s)
            time.sleep(pause_s)


def _run_serving_process(factory: str, listener: socket.socket, refusals: Refusals) -> int | None:
    """Its exit status; it also ends when this process is asked to stop."""
    spawned = multiprocessing.get_context("spawn")
    process = spawned.Process(target=_serve_here, args=(factory, listener, refusals), name="serving")
    process.start()
    try:
        process.join()
    finally:
        process.terminate()
        process.join(END_WITHIN_S)
        process.kill()
        process.join()
    return process.exitcode


def _serve_here(factory: str, listener: socket.socket, refusals: Refusals) -> None:
    stopping = Signal()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopping.set)
    end_with_parent()
    log_to_stderr()
    # A start makes 220,000 objects that stay. To look through them for cycles while they are made takes a tenth of
    # it, and each time later would hold every request for 0.1 s.
    gc.disable()
    module, _, function = factory.partition(":")
    with ExitStack() as at_the_end:
        try:
            application = at_the_end.enter_context(getattr(import_module(module), function)())
        except refusals as error:
            log.error("cannot serve: %s", error)  # noqa: TRY400 - one line, not a trace
            sys.exit(1)
        gc.freeze()
        gc.enable()
        _serve_until(stopping, application, listener)


def _serve_until(stopping: Signal, application: WSGIApplication, listener: socket.socket) -> None:
    limits = Limits(
        connections=most_connections(MOST_CONNECTIONS), requests=MOST_REQUESTS, end_s=REQUESTS_END_WITHIN_S
    )
    server = HttpServer(ThreadedApplication(application), for_greenlets(listener), limits, multithreaded=True)
    server.start()
    stopping.wait()
    server.stop()
