"""How the gateway serves many at once: streams, ready responses, threads for what blocks."""
