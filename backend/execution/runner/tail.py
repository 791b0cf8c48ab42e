"""The end of a stream of any length, in memory of a fixed size."""

from __future__ import annotations


class Tail:
    """Keeps the last `most_bytes` of what is added."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept = bytearray()
        self.seen_bytes = 0

    def add(self, piece: bytes) -> None:
        self.seen_bytes += len(piece)
        self._kept += piece
        # Cut now and then, not with each piece: every cut moves what is kept.
        if len(self._kept) > 2 * self._most_bytes:
            self._cut()

    def text(self) -> str:
        """What is kept, as text that any database takes: what is no UTF-8, and NUL, is replaced by U+FFFD."""
        self._cut()
        return self._kept.decode("utf-8", "replace").replace("\x00", "\ufffd")

    def _cut(self) -> None:
        del self._kept[: max(0, len(self._kept) - self._most_bytes)]
