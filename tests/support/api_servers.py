"""API servers as processes of their own, with sources that say no at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faulty_upstream import FaultyUpstream, Reply
from server_process import ServerProcess, free_port

StartServer = Callable[..., ServerProcess]


@contextmanager
def api_servers(log_dir: Path, database: dict[str, str]) -> Iterator[StartServer]:
    """Starts API servers over one database, with these settings and those of each call; ends them afterwards."""
    started: list[ServerProcess] = []
    with FaultyUpstream(Reply(b"gone", status=404)) as refusing:

        def start(port: int | None = None, **settings: str) -> ServerProcess:
            number = port or free_port()
            sources = dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), refusing.url)
            environment = {**database, "API_PORT": str(number), **sources, **settings}
            server = ServerProcess("api_server.py", log_dir / f"log-{len(started)}", environment, port=number)
            started.append(server)
            return server

        try:
            yield start
        finally:
            for server in started:
                server.end()


def first_run_done(server: ServerProcess) -> bool:
    return server.get("/health").status_code == 200
