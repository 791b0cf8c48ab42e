"""What a stream logs while it is read is told as its request's, though the request's own time is over."""

from __future__ import annotations

from collections.abc import Iterator

from log_lines import caller, request_id
from web.request_ids import InContext


class Pieces:
    """A body that tells in whose request its pieces are made, and in whose it is closed."""

    def __init__(self) -> None:
        self.closed_for: tuple[str, str] | None = None

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(2):
            yield f"{caller.get()} {request_id.get()}".encode()

    def close(self) -> None:
        self.closed_for = caller.get()


def body_of(operator: str, name: str) -> tuple[InContext, Pieces]:
    pieces = Pieces()
    who, which = caller.set((operator, name)), request_id.set(f"r-{name}")
    body = InContext(pieces)
    request_id.reset(which)
    caller.reset(who)
    return body, pieces


def test_two_streams_that_are_read_in_turns_keep_their_callers_apart() -> None:
    (one, pieces), (other, _) = body_of("op-a", "one"), body_of("op-b", "other")
    for first, second in zip(one, other, strict=True):
        assert first == b"('op-a', 'one') r-one"
        assert second == b"('op-b', 'other') r-other"
        assert caller.get() is None
    one.close()
    assert pieces.closed_for == ("op-a", "one")
    assert caller.get() is None
