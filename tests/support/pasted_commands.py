"""Commands of the documents, pasted into a shell as they stand, against a server of a test's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
USUAL_URL = "http://127.0.0.1:5000"


def shell_blocks(document: str) -> list[str]:
    """What is to be pasted of a document."""
    text = (DOCUMENTS / document).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def paste(commands: str, url: str, *, meanwhile: Callable[[], object] | None = None, before: str = "") -> str:
    """What commands print; only the server's address is another than a reader's.

    Args:
        meanwhile: what goes on until they are done, again and again; it waits a moment by itself.
        before: what the shell knows already.
    """
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    shell = subprocess.Popen(
        ["bash", "-ec", before + commands.replace(USUAL_URL, url)],
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while meanwhile is not None and shell.poll() is None:
        meanwhile()
    shown, _ = shell.communicate()
    assert shell.returncode == 0, shown
    return shown
