"""A test that hangs is one failure of the run, however deep it hangs, and never the end of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent / "support"

CONFTEST = """
import watchdog

watchdog.GRACE_S = watchdog.FINISH_S = 2
pytest_plugins = ["watchdog", "file_schedule"]
"""

KEEPS_THE_INTERPRETER = """
import ctypes

def test_that_keeps_the_interpreter():
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)

def test_after_it(): pass
"""

HANGS_AFTER_FAILING = """
import pytest, threading

@pytest.fixture
def waits():
    yield
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass

def test_whose_teardown_hangs(waits):
    assert False

def test_after_it(): pass
"""

LEAVES_A_THREAD = """
import threading

def test_that_leaves_a_thread():
    threading.Thread(target=threading.Event().wait).start()
"""


def test_a_worker_that_hangs_is_ended_and_every_other_test_runs(tmp_path: Path) -> None:
    files = {
        "conftest.py": CONFTEST,
        "test_1.py": KEEPS_THE_INTERPRETER,
        "test_2.py": HANGS_AFTER_FAILING,
        "test_3.py": LEAVES_A_THREAD,
        "pytest.ini": f"[pytest]\ntimeout = 1\npythonpath = {SUPPORT}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    plugins = ["-p", "xdist", "-p", "pytest_timeout"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 1, said
    assert "crashed while running 'test_1.py::test_that_keeps_the_interpreter'" in said
    assert "crashed while running 'test_2.py::test_whose_teardown_hangs'" in said
    assert 'test_1.py", line 7 in test_that_keeps_the_interpreter' in said, "where it stood"
    # The one that hangs in its teardown had failed before.
    assert "3 failed, 3 passed" in said
