"""What an agent may do here by MCP: tools over the platform's own HTTP API, with bounded answers. No database."""
