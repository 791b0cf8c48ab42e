"""Coverage of code that runs in greenlets, at the price of those who have them.

Lines of a greenlet are told from another's only by asking, at every call and return, which one is running, and that
makes everything four times slower. So the tests' own process asks in the threads that have a gevent hub, and nowhere
else, and every program that a test starts asks throughout. pyproject.toml says `thread` for that reason.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import gevent
import pytest
from gevent.hub import Hub

from measured_programs import SETTING

_make_hub = Hub.__init__


def _make_measured_hub(hub: Hub, *args: Any, **options: Any) -> None:
    tracer: Any = sys.gettrace()
    if threading.current_thread() is not threading.main_thread() and hasattr(tracer, "concur_id_func"):
        tracer.concur_id_func = gevent.getcurrent
    _make_hub(hub, *args, **options)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Once coverage has begun, if it has."""
    if SETTING in os.environ:
        Hub.__init__ = _make_measured_hub
