"""Applications that block, behind a server of greenlets: each request is answered in a thread of the system.

A request comes here whole, so a thread is taken for the time that answering takes, never for a client's. The answer
is put together in the thread and sent by the greenlet, for which the same holds.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event as Signal
from gevent.lock import Semaphore

from printable import printable
from web.http_answer import ClientGone
from web.http_connection import CLIENT_IS_THERE
from web.http_server import HEALTH_PATH
from web.problems import problem

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

CAME_AT = "pylon.came_at"
"""In a WSGI environment: when the request was there, on `time.monotonic`."""

THREADS = 14
HEALTH_THREADS = 2
"""For `/health` alone, so that it is answered while all others are busy."""

PATIENCE_S = 10.0


class ThreadedApplication:
    """`application`, answering in threads of its own; called by the greenlets of one thread.

    The threads are daemons: a process that ends does not wait for them.
    """

    def __init__(
        self, application: WSGIApplication, *, threads: int = THREADS, patience_s: float = PATIENCE_S
    ) -> None:
        """`patience_s` is how long a request waits for a thread; then it is answered 503."""
        self._application = application
        self._patience_s = patience_s
        self._threads = _Threads(threads, "request")
        self._health_threads = _Threads(HEALTH_THREADS, "health")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[CAME_AT] = time.monotonic()
        threads = self._health_threads if environ["PATH_INFO"] == HEALTH_PATH else self._threads
        if not threads.free.acquire(timeout=self._patience_s):
            return problem(503, "the server is busy: try again shortly")(environ, start_response)
        try:
            if not environ[CLIENT_IS_THERE]():
                raise ClientGone
            answer = threads.run(lambda: _whole_answer(self._application, environ))
        finally:
            threads.free.release()
        start_response(answer.status, answer.headers)
        return answer.body


@dataclass
class _WholeAnswer:
    status: str
    headers: list[tuple[str, str]]
    body: list[bytes]


class _Threads:
    """Each takes one call after the other. `free` counts those without one."""

    def __init__(self, threads: int, name: str) -> None:
        self.free = Semaphore(threads)
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._take_calls, name=f"{name}-{number}", daemon=True).start()

    def run(self, work: Callable[[], _WholeAnswer]) -> _WholeAnswer:
        """What `work`, which raises nothing, returns in a thread; the greenlet waits for it."""
        loop = gevent.get_hub().loop
        done = Signal()
        answers: list[_WholeAnswer] = []

        def call() -> None:
            answers.append(work())
            try:
                loop.run_callback_threadsafe(done.set)
            except ValueError:
                log.debug("an answer came after the server had stopped")

        self._calls.put(call)
        done.wait()
        return answers[0]

    def _take_calls(self) -> None:
        while True:
            self._calls.get()()


def _whole_answer(application: WSGIApplication, environ: WSGIEnvironment) -> _WholeAnswer:
    answer = _WholeAnswer("", [], [])

    def start(
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,  # noqa: ARG001 - part of the interface
        /,
    ) -> Callable[[bytes], object]:
        answer.status, answer.headers = status, headers
        return answer.body.append

    try:
        body = application(environ, start)
        try:
            answer.body.extend(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
    except Exception:
        log.exception("%s %s failed", environ["REQUEST_METHOD"], printable(environ["PATH_INFO"]))
        failure = problem(500, "an unexpected error occurred; the details are in the server's log")
        return _WholeAnswer(failure.status, failure.headers.to_wsgi_list(), [failure.data])
    return answer
