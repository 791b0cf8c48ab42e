"""Keeps the accounts of runs up to what is known of the grid, and the history of data centres' loads."""

from __future__ import annotations

from datetime import datetime

from database.interface import Database

_AT_ONCE = 500
"""Accounts that are worked out in one transaction, while others wait for their workloads."""


def keep_accounts(database: Database, now: datetime) -> int:
    """Note what others draw of every data centre, and revise the accounts of runs that may yet change.

    For the pipeline, after a run: national actual intensities and prices have come.

    Returns:
        How many accounts changed.

    Raises:
        DatabaseError: the database does not answer.
    """
    database.call("sample_loads", {"p_now": now}, repeatable=True)
    revised, after = 0, 0
    while after is not None:
        arguments = {"p_now": now, "p_after": after, "p_limit": _AT_ONCE}
        page = database.call("revise_accounts", arguments, repeatable=True)
        revised += page["revised"]
        after = page["next"]
    return revised
