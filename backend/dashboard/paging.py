"""What a page was asked for in its address, and the address of the page after it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from flask import request, url_for


def given_values() -> dict[str, str]:
    """The parameters of this request that say something: a form sends its empty fields too."""
    return {name: value for name, value in request.args.items() if value}


def following(endpoint: str, after: str | None, filters: Mapping[str, str] | None = None) -> str | None:
    """Where a list goes on behind `after`, with the same filters; None at its end."""
    return None if not after else f"{url_for(endpoint)}?{urlencode({**(filters or {}), 'after': after})}"
