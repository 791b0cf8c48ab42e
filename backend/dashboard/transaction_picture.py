"""A Beckn transaction as a sequence picture: two platforms, and the messages between them from top to bottom. Pure.

What is told by a message that is still kept is drawn solid; what only the order proves, since messages are kept for
an hour, is dashed and says so. A message that was given up or refused has a cross instead of an arrow's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from api.purchases import MessageState, Order, OrderStory, TransactionMessage
from dashboard.words import utc_seconds

ROW_PX, TOP_PX, BOTTOM_PX = 46, 44, 18
LEFT, RIGHT = 8, 92
"""Where the two life lines stand, per cent of the width."""

_CROSS, _HEAD = "M-5 -5L5 5M-5 5L5 -5", "M0 0L-9 -4.5V4.5Z"


@dataclass(frozen=True)
class Message:
    """One arrow. `at` is None where nobody knows when; `is_kept`: whether the message itself is still there."""

    action: str
    is_from_buyer: bool
    at: datetime | None
    words: str
    is_kept: bool
    has_failed: bool = False


def transaction_messages(story: OrderStory) -> list[Message]:
    """The messages of an order's transaction in order: those that are kept, and before them what the order proves."""
    order = story.order
    kept = [_kept(message, order) for message in story.messages]
    known = {message.action for message in kept}
    proved = [
        ("select", True, None, "asked for a price"),
        ("on_select", False, story.quoted_at, "the quote"),
        ("init", True, None, "billing and terms asked for"),
        ("on_init", False, None, "the terms"),
        ("confirm", True, order.created_at, "ordered"),
        ("on_confirm", False, order.created_at, "the order stands"),
    ]
    earlier = [
        Message(action, way, at, words, is_kept=False) for action, way, at, words in proved if action not in known
    ]
    return [*earlier, *kept]


def draw_transaction(messages: Sequence[Message], buyer: str, provider: str) -> Markup:
    """The picture. Its table says the same in words."""
    height = TOP_PX + ROW_PX * len(messages) + BOTTOM_PX
    kept = sum(message.is_kept for message in messages)
    sentence = f"{len(messages)} messages between {buyer} and {provider}, of which {kept} are still kept"
    parts = [
        Markup('<svg class="sequence" width="100%" height="{}" role="img" aria-label="{}">').format(height, sentence),
        _life_line(LEFT, "start", buyer, "buyer", height),
        _life_line(RIGHT, "end", provider, "provider", height),
        *(_arrow(message, TOP_PX + ROW_PX * (place + 1) - 12) for place, message in enumerate(messages)),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _life_line(x: int, anchor: str, name: str, side: str, height: int) -> Markup:
    return Markup(
        '<text class="side" x="{0}%" dx="{1}" y="14" text-anchor="{2}">{3}</text>'
        '<text class="platform" x="{0}%" dx="{1}" y="30" text-anchor="{2}">{4}</text>'
        '<line class="life-line" x1="{0}%" x2="{0}%" y1="38" y2="{5}"/>'
    ).format(x, -8 if anchor == "start" else 8, anchor, side, name, height - 4)


def _arrow(message: Message, y: int) -> Markup:
    start, end = (LEFT, RIGHT) if message.is_from_buyer else (RIGHT, LEFT)
    classes = " ".join(
        ["message", "kept" if message.is_kept else "proved", *(["failed"] if message.has_failed else [])]
    )
    head = _CROSS if message.has_failed else _HEAD
    direction = 1 if message.is_from_buyer else -1
    when = "time unknown" if message.at is None else utc_seconds(message.at)
    return Markup(
        '<g class="{}"><text class="action" x="{}%" dx="10" y="{}">{}</text>'
        '<text class="when" x="{}%" dx="-10" y="{}" text-anchor="end">{}</text>'
        '<line x1="{}%" x2="{}%" y1="{}" y2="{}"/>'
        '<svg class="head" x="{}%" y="{}" overflow="visible"><path d="{}" transform="scale({} 1)"/></svg></g>'
    ).format(classes, LEFT, y - 7, message.action, RIGHT, y - 7, when, start, end, y, y, end, y, head, direction)


def _kept(message: TransactionMessage, order: Order) -> Message:
    states = {
        MessageState.WAITING: "waits to be worked on" if message.received_at else "waits to be delivered",
        MessageState.IN_WORK: "is being worked on" if message.received_at else "is being delivered",
        MessageState.DONE: "worked on" if message.received_at else "delivered",
        MessageState.GIVEN_UP: "given up",
    }
    words = [states[message.state]]
    if message.attempts > 1:
        words.append(f"{message.attempts} attempts")
    if message.answered:
        words.append(f"answered {message.answered}")
    return Message(
        action=message.action,
        is_from_buyer=message.sender == order.bap_id,
        at=message.sent_at or message.received_at,
        words=", ".join(words),
        is_kept=True,
        has_failed=message.state is MessageState.GIVEN_UP or message.answered == "NACK",
    )
