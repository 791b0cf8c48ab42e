"""Agents that share a limit of power by half-hour settle who draws when, by prices and proposals. Pure."""
