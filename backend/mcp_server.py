"""The platform's tools for agents, by the Model Context Protocol: one more process, over the HTTP API.

    python backend/mcp_server.py            over stdio: an agent's client starts it
    python backend/mcp_server.py --http     on http://127.0.0.1:5055/mcp, for many

It needs requirements-agents.txt, and no database. docs/agents.md says the rest.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import anyio

from agent_tools.over_http import HOST, PATH, serve
from agent_tools.over_stdio import serve_stdio
from agent_tools.server import make_server
from agent_tools.settings import AgentSettingsRefused, agent_settings
from log_lines import log_lines_to

log = logging.getLogger("mcp_server")

DEFAULT_PORT = 5055
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the client goes (stdio), or Ctrl-C or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="mcp_server.py", description="The platform's tools for agents (MCP).")
    parser.add_argument("--http", action="store_true", help="serve streamable HTTP on loopback instead of stdio")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="where, with --http")
    options = parser.parse_args(arguments)
    log_lines_to(sys.stderr)  # stdout is the protocol's
    try:
        settings = agent_settings(os.environ)
    except AgentSettingsRefused as error:
        sys.stderr.write(f"mcp_server: {error}\n")
        return REFUSED
    server = make_server(settings)
    writes = "may change things" if settings.allow_writes else "reads only (MCP_ALLOW_WRITES=1 lets it submit)"
    if not options.http:
        log.info("serves stdio for %s, %s", settings.url, writes)
        anyio.run(serve_stdio, server)
        return 0
    if settings.api_key is not None:
        log.warning("PYLON_API_KEY is not used over HTTP: every caller brings its own")
    log.info("serves http://%s:%d%s for %s, %s", HOST, options.port, PATH, settings.url, writes)
    serve(server, settings, options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
