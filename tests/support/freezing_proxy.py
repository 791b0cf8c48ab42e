"""A TCP proxy whose connections can go silent without being closed, as when a firewall forgets them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class FreezingProxy:
    """Forwards bytes both ways. What is frozen stays open and carries nothing any more; new connections work."""

    def __init__(self, door: socket.socket, target: Path) -> None:
        self.port = int(door.getsockname()[1])
        self.accepted = 0
        self._door = door
        self._target = target
        self._frozen = threading.Event()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Silence every connection there is."""
        self._frozen.set()
        self._frozen = threading.Event()

    def freeze_all_to_come(self) -> None:
        """Silence every connection there is, and those that come until `thaw`."""
        self._frozen.set()

    def thaw(self) -> None:
        """Let new connections work again."""
        self._frozen = threading.Event()

    def close(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
                self._ends += [client, server]
                self.accepted += 1
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_forward, args=(source, sink, self._frozen), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket, frozen: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if frozen.is_set():
                return  # and nobody is told
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def freezing_proxy(target: Path) -> Iterator[FreezingProxy]:
    """A proxy before the unix socket `target`, on a port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        proxy = FreezingProxy(door, target)
        try:
            yield proxy
        finally:
            proxy.close()
