"""Pages that are bounded in bytes as well as in number: an output grows with the number of data centres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import orjson

from database.interface import Row

Cursor = TypeVar("Cursor")

READ_AT_ONCE = 8
ENOUGH_BYTES = 4 * 1024 * 1024


def bounded_pages(
    read: Callable[[Cursor, int], tuple[Sequence[Row], Cursor]],
    after: Cursor,
    limit: int,
    *,
    enough_bytes: int = ENOUGH_BYTES,
) -> tuple[list[orjson.Fragment], Cursor]:
    """Up to `limit` documents that follow `after`, fewer once they make `enough_bytes`, and the next cursor.

    Args:
        read: takes a cursor and a number; gives documents and the next cursor, fewer documents only at the end.
    """
    documents: list[orjson.Fragment] = []
    size = 0
    while len(documents) < limit and size < enough_bytes:
        wanted = min(READ_AT_ONCE, limit - len(documents))
        rows, after = read(after, wanted)
        written = [orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in rows]
        documents.extend(map(orjson.Fragment, written))
        size += sum(map(len, written))
        if len(rows) < wanted or after is None:
            break
    return documents, after
