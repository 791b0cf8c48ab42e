"""Pages that are bounded in bytes and in number, and lose nothing."""

from __future__ import annotations

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from database.interface import Row
from gateway.serving.pages import READ_AT_ONCE, bounded_pages

ENOUGH_BYTES = 1000


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 2 * ENOUGH_BYTES), max_size=40), limit=st.integers(1, 20))
def test_page_after_page_gives_every_document_once(sizes: list[int], limit: int) -> None:
    def read(after: int, number: int) -> tuple[list[Row], int]:
        rows = [{"text": "x" * size} for size in sizes[after : after + number]]
        return rows, after + len(rows)

    seen: list[int] = []
    cursor = 0
    while True:
        documents, cursor = bounded_pages(read, cursor, limit, enough_bytes=ENOUGH_BYTES)
        if not documents:
            break
        written = [orjson.dumps(document) for document in documents]
        assert len(written) <= limit
        assert sum(map(len, written[:-READ_AT_ONCE])) < ENOUGH_BYTES
        seen += [len(orjson.loads(text)["text"]) for text in written]
        is_full = len(written) == limit or sum(map(len, written)) >= ENOUGH_BYTES
        assert is_full or len(seen) == len(sizes)
    assert seen == sizes
