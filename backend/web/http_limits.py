"""How long a server waits for its clients, and how much it takes from all of them together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Deadlines are absolute: a byte now and then does not move them."""

    connections: int = 1024
    """Open at once. Beyond it the one that has kept the server waiting longest is closed for the new one."""

    requests: int = 256
    """Being answered at once, streams that have begun aside. Beyond it the answer is 503."""

    body_bytes: int = 1024 * 1024
    """Of one request; its application may take less."""

    held_bytes: int = 64 * 1024 * 1024
    """Of bodies that are still arriving and answers that are still being taken, of all connections together. Beyond
    it the slowest is closed."""

    head_s: float = 10.0
    """From the first byte of a request, or from a new connection, to the end of its headers."""

    body_s: float = 30.0
    """From the headers to the end of the body."""

    idle_s: float = 30.0
    """Between two requests on one connection."""

    write_s: float = 30.0
    """For a client to take 64 KiB of an answer."""

    end_s: float = 2.0
    """For requests that are being answered when the server ends."""
