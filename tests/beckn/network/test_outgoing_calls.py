"""Calls to other platforms: only where they may go, in time, and of a size."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import beckn.network.outgoing_calls as outgoing_calls
from beckn.network.outgoing_calls import AddressPolicy, AddressRefused, Caller, CallFailed
from beckn_network import ACKNOWLEDGED, Peer, peer
from clock import utc_now

CALLER = Caller(connect_timeout_s=1, whole_call_s=0.5, longest_answer_bytes=1000)


@contextmanager
def raw_server(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says anything at all: `speak` has the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        speak(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/beckn/search"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def test_the_very_bytes_go_out_with_their_headers() -> None:
    body = ' {"a": "Zoë",\n "b": 1}'.encode()
    with peer() as other:
        reply = CALLER.post(
            f"{other.url}/search?x=1",
            body,
            {"Authorization": "Signature x"},
            reach=AddressPolicy.ANYWHERE,
        )
    assert (reply.status, reply.body) == (200, ACKNOWLEDGED)
    (arrival,) = other.arrivals
    assert (arrival.path, arrival.body) == ("/beckn/search?x=1", body)
    assert arrival.headers["Content-Type"] == "application/json"
    assert arrival.headers["Authorization"].startswith("Signature")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with peer() as target, peer() as other:
        other.answer = lambda _: (status, b"")
        other.headers = {"Location": f"{target.url}/search"}
        assert CALLER.post(f"{other.url}/search", b"{}", {}, reach=AddressPolicy.ANYWHERE).status == status
    assert target.arrivals == []


def test_a_proxy_of_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with peer() as other:
        assert CALLER.post(f"{other.url}/search", b"{}", {}, reach=AddressPolicy.ANYWHERE).status == 200


PRIVATE = [
    "127.0.0.1", "127.9.9.9", "localhost", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "224.0.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[64:ff9b:1::7f00:1]", "[fec0::1]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "2130706433", "0x7f.1",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_without_the_operators_word_nothing_private_is_called(host: str) -> None:
    with pytest.raises(AddressRefused, match="which is private"):
        CALLER.post(f"http://{host}:9/beckn/search", b"{}", {}, reach=AddressPolicy.PUBLIC)


def test_a_name_that_leads_to_a_private_address_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is looked at is the one that is connected to, so the second answer is never asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with peer() as other:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(AddressRefused, match=r"evil\.example is 127\.0\.0\.1"):
            CALLER.post("http://evil.example/beckn/search", b"{}", {}, reach=AddressPolicy.PUBLIC)
    assert asked == ["evil.example"]
    assert other.arrivals == []


@pytest.mark.parametrize("host", ["10.1.2.3", "93.184.215.14", "[2606:4700::1111]"])
def test_without_signatures_only_this_machine_is_called(host: str) -> None:
    with pytest.raises(AddressRefused, match="not this machine"):
        CALLER.post(f"http://{host}:9/beckn/search", b"{}", {}, reach=AddressPolicy.LOOPBACK)
    with peer() as other:
        assert CALLER.post(f"{other.url}/search", b"{}", {}, reach=AddressPolicy.LOOPBACK).status == 200


@pytest.mark.parametrize(
    "url", ["ftp://a.example/x", "http:///x", "http://user:secret@127.0.0.1/x", "file:///etc/passwd"]
)
def test_only_plain_web_addresses_are_called(url: str) -> None:
    with pytest.raises(AddressRefused, match="http or https URL"):
        CALLER.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE)


def test_nobody_there_is_a_failure_that_may_pass() -> None:
    with peer(listening=False) as other, pytest.raises(CallFailed, match="ConnectionRefused"):
        CALLER.post(f"{other.url}/search", b"{}", {}, reach=AddressPolicy.ANYWHERE)
    with pytest.raises(CallFailed, match="gaierror"):
        CALLER.post("http://no-such-host.invalid/search", b"{}", {}, reach=AddressPolicy.ANYWHERE)


def silent(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(1)


def dripping_headers(connection: socket.socket) -> None:
    connection.recv(65536)
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def dripping_body(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    for _ in range(500):
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("speak", [silent, dripping_headers, dripping_body])
def test_a_peer_that_takes_its_time_is_cut_off(speak: Callable[[socket.socket], None]) -> None:
    with raw_server(speak) as url, pytest.raises(CallFailed, match=r"no whole answer within 0\.5 s"):
        CALLER.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE)


def endless(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x" * 1000)


def nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def read_request(connection: socket.socket) -> None:
    # To its end: closing with something unread would reset the connection, which is another failure.
    request = b""
    while not request.endswith(b"\r\n\r\n{}"):
        received = connection.recv(65536)
        if not received:
            raise ConnectionResetError("the caller hung up before its request was whole")
        request += received


def hanging_up(connection: socket.socket) -> None:
    read_request(connection)


def cut_short(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")


@pytest.mark.parametrize(
    ("speak", "complaint"),
    [
        (endless, "longer than 1,000 bytes"),
        (nonsense, "BadStatusLine"),
        (hanging_up, "RemoteDisconnected|ConnectionReset"),
    ],
)
def test_an_answer_that_is_none_is_a_failure(speak: Callable[[socket.socket], None], complaint: str) -> None:
    with raw_server(speak) as url, pytest.raises(CallFailed, match=complaint):
        CALLER.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE)


def test_an_answer_that_breaks_off_is_no_acknowledgement() -> None:
    with raw_server(cut_short) as url:
        reply = CALLER.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE)
    assert reply.body == b"{"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody has signed but itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "localhost.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@contextmanager
def secure_server(certificate: Path, speak: Callable[[ssl.SSLSocket], None]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def shake_hands(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            speak(secure)

    with raw_server(shake_hands) as url:
        yield url.replace("http://127.0.0.1", "https://localhost")


def test_https_checks_the_certificate_against_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acknowledge(secure: ssl.SSLSocket) -> None:
        read_request(secure)
        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    caller = Caller(connect_timeout_s=5, whole_call_s=10)
    with secure_server(certificate, acknowledge) as url:
        with pytest.raises(CallFailed, match="CERTIFICATE_VERIFY_FAILED"):
            caller.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE)
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(outgoing_calls, "_tls", lambda: trusting)
        assert caller.post(url, b"{}", {}, reach=AddressPolicy.ANYWHERE).body == b"{}"
        with pytest.raises(CallFailed, match="CERTIFICATE_VERIFY_FAILED"):
            caller.post(url.replace("localhost", "127.0.0.1"), b"{}", {}, reach=AddressPolicy.ANYWHERE)


def test_a_handshake_that_never_ends_is_cut_off() -> None:
    with raw_server(silent) as url, pytest.raises(CallFailed, match=r"no whole answer within 0\.5 s"):
        CALLER.post(url.replace("http://", "https://"), b"{}", {}, reach=AddressPolicy.ANYWHERE)


def test_a_peer_can_be_played() -> None:
    """The tests' own server: down, up on the same port, and down again."""
    other = Peer()
    url = other.url
    for _ in range(2):
        other.up()
        assert other.url == url
        assert CALLER.post(f"{url}/search", b"{}", {}, reach=AddressPolicy.ANYWHERE).status == 200
        other.down()
        with pytest.raises(CallFailed):
            CALLER.post(f"{url}/search", b"{}", {}, reach=AddressPolicy.ANYWHERE)
