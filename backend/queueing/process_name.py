"""Who holds a lease, for whoever reads the queues: this process, by its machine and its number there."""

from __future__ import annotations

import os
import socket


def process_name() -> str:
    """`host:process id`. Not unique for ever: what fences a late holder is its lease token."""
    return f"{socket.gethostname()}:{os.getpid()}"
