"""What holds on every port, for anybody: the three processes as their users start them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
import requests

from api_servers import first_run_done
from database.embedded import EmbeddedPostgres
from faulty_upstream import FaultyUpstream, Reply
from new_database import as_url, new_database
from raw_http import exchange
from refused_requests import AMBIGUOUS_OR_NONE
from server_process import ServerProcess, free_port
from soak_strangers import bodiless_streams

PROGRAMS = {"api": "api_server.py", "gateway": "BG.py", "provider": "BPP.py"}
PORTS = {"api": "API_PORT", "gateway": "BG_PORT", "provider": "BPP_PORT"}
CHANGES = {"api": "/api/v1/workloads", "gateway": "/beckn/context/processed", "provider": "/beckn/search"}
GARBAGE = list(AMBIGUOUS_OR_NONE.values())


@pytest.fixture(scope="module")
def servers(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ServerProcess]]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        new_database(postgres_server) as conninfo,
        FaultyUpstream(Reply(b"gone", status=404)) as refusing,
        ExitStack() as stack,
    ):
        ports = {name: free_port() for name in PROGRAMS}
        settings = {
            "DATABASE_URL": as_url(conninfo),
            "PYLON_DATA_DIR": str(folder / "data"),
            **dict.fromkeys(("CARBON_INTENSITY_URL", "NESO_URL", "ELEXON_URL"), refusing.url),
            **{PORTS[name]: str(port) for name, port in ports.items()},
        }
        running = {}
        for name, program in PROGRAMS.items():
            server = ServerProcess(program, folder / f"{name}.log", settings, port=ports[name])
            stack.callback(server.end)
            running[name] = server
            server.wait_until_serving()
        running["api"].wait_for(lambda: first_run_done(running["api"]))
        yield running


@pytest.fixture(params=list(PROGRAMS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def server(servers: dict[str, ServerProcess], name: str) -> Iterator[ServerProcess]:
    """It is as before after the test, and has nothing to say about it."""
    yield servers[name]
    assert servers[name].get("/").status_code == 200
    assert "Traceback" not in servers[name].log


def port_of(server: ServerProcess) -> int:
    return int(server.url.rpartition(":")[2])


def connections(server: ServerProcess, count: int, stack: ExitStack) -> list[socket.socket]:
    return [
        stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=20))
        for _ in range(count)
    ]


@pytest.mark.parametrize("request_text", GARBAGE, ids=AMBIGUOUS_OR_NONE)
def test_what_could_be_read_in_two_ways_is_refused(server: ServerProcess, request_text: bytes) -> None:
    answer = exchange(port_of(server), request_text)
    assert answer.was_closed
    assert len(answer.statuses) == 1
    assert answer.status in {400, 414, 417, 431}


def test_streams_without_bodies_stop_nobody(server: ServerProcess) -> None:
    for _ in range(5):
        assert exchange(port_of(server), bodiless_streams()).was_closed
    assert server.get("/health").status_code == 200


def test_unfinished_requests_and_silent_clients_keep_nobody_waiting(server: ServerProcess, name: str) -> None:
    head = f"POST {CHANGES[name]} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    with ExitStack() as stack:
        for started in (
            b"",
            b"GET / HT",
            head,
            head + b"Content-Length: 1000\r\n\r\n{",
            head + b"Transfer-Encoding: ",
        ):
            for connection in connections(server, 60, stack):
                connection.sendall(started)
        for _ in range(5):
            answer = server.get("/health", timeout_s=5)
            assert answer.status_code == 200, answer.text


def test_more_connections_than_there_is_room_for_stop_nobody(server: ServerProcess) -> None:
    with ExitStack() as stack:
        for connection in connections(server, 1100, stack):
            connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(5):
            answer = server.get("/health", timeout_s=5)
            assert answer.status_code == 200, answer.text


def test_requests_that_pile_up_are_answered_or_told_when_to_come_back(server: ServerProcess) -> None:
    with ExitStack() as stack:
        asking = connections(server, 200, stack)
        for connection in asking:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" * 2)
        answers = [connection.recv(65536) for connection in asking]
    statuses = {answer[9:12] for answer in answers}
    assert statuses <= {b"200", b"503"}
    assert b"200" in statuses
    assert all(b"Retry-After: " in answer for answer in answers if answer[9:12] == b"503")


def test_after_head_there_is_no_body_and_options_say_what_is_allowed(server: ServerProcess) -> None:
    rules = [line.split(" ", 1) for line in server.get("/").json()["endpoints"]]
    paths = [path for method, path in rules if method == "GET"] + [
        "/nothing",
        "/%00",
        "/docs/js/swagger-ui-bundle.js",
    ]
    for path in paths:
        filled = path.replace("<", "").replace(">", "").replace("path:", "")
        head = f"HEAD {filled} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = exchange(port_of(server), head.encode())
        assert (answer.body, len(answer.statuses)) == (b"", 1)
        assert answer.status is not None
        assert answer.status < 500
        options = requests.options(server.url + filled, timeout=10)
        assert options.content == b"" if options.ok else options.status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_as_another_machine_it_answers_nothing(server: ServerProcess, name: str, path: str) -> None:
    headers = {"Host": f"rebound.example:{port_of(server)}", "Content-Type": "application/json"}
    assert requests.get(server.url + path, headers=headers, timeout=10).status_code == 421
    assert requests.post(server.url + CHANGES[name], data="{}", headers=headers, timeout=10).status_code == 421


def test_a_page_of_another_site_changes_nothing(server: ServerProcess, name: str) -> None:
    for headers, status in (({"Content-Type": "text/plain"}, 415), ({"Origin": "http://evil.example"}, 403)):
        for body in (b"", b"{}"):
            answer = requests.post(server.url + CHANGES[name], data=body, headers=headers, timeout=10)
            assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_the_page_of_the_documentation_keeps_to_itself(server: ServerProcess) -> None:
    page = server.get("/docs")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_slow_clients_do_not_fill_the_memory(server: ServerProcess, name: str) -> None:
    parent = psutil.Process(server.process.pid)
    family = [parent, *parent.children(recursive=True)]
    head = f"POST {CHANGES[name]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode()

    def memory_mb() -> float:
        return sum(process.memory_info().rss for process in family) / 1e6

    before = memory_mb()
    with ExitStack() as stack:
        for connection in connections(server, 500, stack):
            with suppress(ConnectionError):  # it was the slowest
                connection.sendall(head + b" " * 999_000)
        assert server.get("/health", timeout_s=10).status_code == 200
        assert memory_mb() - before < 250, "of 500 MB that were sent"
