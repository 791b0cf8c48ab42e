"""Sequence pictures: who sends what to whom, from plain lists of steps."""

from __future__ import annotations

from dataclasses import dataclass

from svg import Drawing

COLUMN = 190
MARGIN = 100
ROW = 38
TOP = 64


@dataclass(frozen=True)
class Step:
    """A message, a reply (drawn dashed) or, where both ends are one party, what that party does."""

    sender: str
    receiver: str
    words: str
    reply: bool = False


def drawn(title: str, parties: tuple[str, ...], steps: tuple[Step, ...]) -> str:
    """The steps from top to bottom, one line of life for each party."""
    place = {party: MARGIN + COLUMN * number for number, party in enumerate(parties)}
    height = TOP + ROW * len(steps) + 30
    drawing = Drawing(2 * MARGIN + COLUMN * (len(parties) - 1), height, title)
    for party, x in place.items():
        drawing.line([(x, TOP - 16), (x, height - 14)], "thin")
        drawing.box(x - 82, 16, 164, 32, "box", corner=5)
        drawing.text(x, 37, party, "strong middle")
    for number, step in enumerate(steps, start=1):
        y = TOP + ROW * number - 8
        start, end = place[step.sender], place[step.receiver]
        words = f"{number}  {step.words}"
        if start == end:
            drawing.box(start - 88, y - 17, 176, 24, "box", corner=3)
            drawing.text(start, y - 1, words, "small middle")
        else:
            drawing.arrow(start, end, y, "answer" if step.reply else "line")
            drawing.text((start + end) / 2, y - 7, words, "small middle")
    return drawing.svg()


CLIENT, API, DATABASE, GATEWAY, READER = "Client", "API server", "PostgreSQL", "Gateway", "Agent or provider"

WORKLOAD = (
    Step(CLIENT, API, "POST /api/v1/workloads"),
    Step(API, DATABASE, "store the workload"),
    Step(DATABASE, DATABASE, "trigger: notification"),
    Step(API, CLIENT, "201, the stored row", reply=True),
    Step(DATABASE, GATEWAY, "NOTIFY (or a poll)"),
    Step(GATEWAY, DATABASE, "claim, with a token"),
    Step(DATABASE, GATEWAY, "workload and grid context", reply=True),
    Step(GATEWAY, GATEWAY, "score (Gemini, with a key)"),
    Step(GATEWAY, DATABASE, "publish, with the token"),
    Step(DATABASE, DATABASE, "audit row, booking, event"),
    Step(DATABASE, GATEWAY, "a new event (or a poll)"),
    Step(GATEWAY, READER, "server-sent event"),
    Step(READER, GATEWAY, "acknowledge"),
    Step(API, DATABASE, "at its start: claim, begin"),
    Step(DATABASE, DATABASE, "RUNNING, load, event"),
    Step(API, DATABASE, "at its end: complete"),
    Step(DATABASE, DATABASE, "COMPLETED, what it used"),
)

BUYER, BG, BPP = "Buyer (BAP)", "Gateway (BG)", "Provider (BPP)"

SEARCH = (
    Step(BUYER, BG, "search, signed"),
    Step(BG, BG, "check, store in the inbox"),
    Step(BG, BUYER, "200 ACK", reply=True),
    Step(BG, BPP, "search, byte for byte"),
    Step(BPP, BPP, "check signatures, store"),
    Step(BPP, BG, "200 ACK", reply=True),
    Step(BPP, BPP, "price and score the slots"),
    Step(BPP, BUYER, "on_search: the catalogue, straight to the buyer"),
    Step(BUYER, BPP, "200 ACK", reply=True),
    Step(BUYER, BPP, "select, init, confirm … each answered by on_…"),
)


def workload_path() -> str:
    return drawn("The path of a workload", (CLIENT, API, DATABASE, GATEWAY, READER), WORKLOAD)


def beckn_search() -> str:
    return drawn("The path of a Beckn search", (BUYER, BG, BPP), SEARCH)
