"""Do the audit logs hold what was decided? Follows the chains of hashes over every operator's decisions.

python backend/audit.py verify [--operator op-a] [--head heads.json]
python backend/audit.py head > heads.json

There are two logs: where and when workloads run, and why flexibility events went from state to state. verify computes
every decision's hash anew and names, for each log and operator, the first one that was changed, removed, inserted or
moved; exit status 1 if there is one, 2 if a log cannot be read. head prints the newest hashes as JSON.
Keep them where whoever owns the database cannot write: with --head, verify also tells a log that was cut off, or
written anew from some decision on. It works on the database that the settings choose, like the servers.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from clock import utc_now
from database.errors import DatabaseError
from database.opening import open_database
from decisions.chain.exported import ExportedHeads, NoHeads, by_position, read_heads
from decisions.chain.stored import FLEXIBILITY_DECISIONS, Head, StoredChains, StoredHeads
from decisions.chain.verification import Finding, Verified, verify_chain
from printable import LONGEST_REASON, printable
from settings import SettingsError, load_settings

HOLDS, BROKEN, UNREAD = 0, 1, 2
LOGGED_EVERY = 10_000

log = logging.getLogger("audit")


class NothingToDo(Exception):
    """An argument cannot be; the message says which and why."""


@dataclass(frozen=True)
class Audited:
    """One audit log, what it is called behind an operator's name, and its hashes that were kept elsewhere."""

    chains: StoredChains
    named: str
    exported: Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class AuditLogs:
    """The decisions on workloads, and those on flexibility events."""

    workloads: Audited
    flexibility: Audited


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    asked = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        exports = [_read(name) for name in getattr(asked, "head", None) or ()]
        with closing(open_database(load_settings())) as database:
            logs = AuditLogs(
                Audited(StoredChains(database), "", by_position(one.heads for one in exports)),
                Audited(
                    StoredChains(database, FLEXIBILITY_DECISIONS),
                    ", flexibility",
                    by_position(one.flexibility_heads for one in exports),
                ),
            )
            return int(asked.run(logs, asked.operator, sys.stdout))
    except (NothingToDo, NoHeads, SettingsError, DatabaseError) as error:
        sys.stderr.write(f"{asked.command}: {printable(error, LONGEST_REASON)}\n")
        return UNREAD


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    made = argparse.ArgumentParser(prog="audit.py", description="The audit logs of decisions as chains of hashes.")
    commands = made.add_subparsers(dest="command", required=True)
    verifying = commands.add_parser("verify", help="name the first decision that does not hold")
    verifying.add_argument("--operator", help="only this operator's decisions")
    verifying.add_argument(
        "--head", action="append", metavar="FILE", help="what head printed once; may be given several times"
    )
    verifying.set_defaults(run=verify)
    heading = commands.add_parser("head", help="print the newest hashes as JSON, to be kept elsewhere")
    heading.add_argument("--operator", help="only this operator's")
    heading.set_defaults(run=export)
    return made


def verify(logs: AuditLogs, operator: str | None, out: TextIO) -> int:
    """Write a line for each operator's chain of each log; the exit status.

    Raises:
        NothingToDo: the operator has no decisions, and there were none.
        DatabaseError: a log cannot be read.
    """
    statuses = [_verify(log, operator, out) for log in (logs.workloads, logs.flexibility)]
    told = [status for status in statuses if status is not None]
    if not told:
        if operator is not None:
            raise NothingToDo(f"{operator} has no decisions")
        out.write("There are no decisions yet.\n")
    return max(told, default=HOLDS)


def _verify(log: Audited, operator: str | None, out: TextIO) -> int | None:
    """The exit status of one log; None where there is nothing in it, and was not."""
    stored = log.chains.heads()
    ends = {head.operator: head.position for head in stored.heads}
    known = sorted(ends.keys() | log.exported.keys())
    operators = [each for each in known if operator in (None, each)]
    unchained = stored.unchained if operator is None else []
    status = HOLDS
    for each in operators:
        with _progress(each + log.named, ends.get(each, 0)) as every:
            result = verify_chain(
                each,
                log.chains.decisions(each),
                grid_hash_of=log.chains.grid_hash_of,
                exported=log.exported.get(each, {}),
                every=every,
            )
        out.write(printable(_told(result, log.named), LONGEST_REASON) + "\n")
        status = BROKEN if isinstance(result, Finding) else status
    for decision_id in unchained:
        out.write(f"decision {printable(decision_id)} is in no chain: it was inserted\n")
        status = BROKEN
    return status if operators or unchained else None


def export(logs: AuditLogs, operator: str | None, out: TextIO) -> int:
    """Write the heads as JSON; the exit status.

    Raises:
        NothingToDo: the operator has no decisions, or a chain's end has no hash.
        DatabaseError: a log cannot be read.
    """
    heads, flexibility = (_heads(log.chains.heads(), operator) for log in (logs.workloads, logs.flexibility))
    if operator is not None and not heads and not flexibility:
        raise NothingToDo(f"{operator} has no decisions")
    exported = ExportedHeads(taken_at=utc_now(), heads=heads, flexibility_heads=flexibility)
    out.write(exported.model_dump_json(indent=2) + "\n")
    return HOLDS


def _heads(stored: StoredHeads, operator: str | None) -> list[Head]:
    heads = []
    for head in stored.heads:
        if operator in (None, head.operator):
            if head.hash is None or head.position < 1:
                raise NothingToDo(f"the newest decision of {head.operator} does not hold: run verify")
            heads.append(Head.model_validate(head.model_dump()))
    return heads


def _read(name: str) -> ExportedHeads:
    try:
        return read_heads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NothingToDo(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except NoHeads as error:
        raise NoHeads(f"{name} is not what audit.py head prints: {error}") from None


def _told(result: Verified | Finding, log: str) -> str:
    whose = result.operator + log
    if isinstance(result, Verified):
        number = "1 decision holds" if result.position == 1 else f"{result.position:,} decisions hold"
        return f"{whose}: {number}; the newest is {result.hash}"
    which = f", decision {result.decision_id} of {result.subject}" if result.decision_id else ""
    return f"{whose}: does not hold at position {result.position}{which} ({result.fault}): {result.reason}"


@contextmanager
def _progress(operator: str, expected: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    on_terminal = sys.stderr.isatty()
    with tqdm(total=expected, desc=printable(operator), unit="decision", leave=False, disable=not on_terminal) as bar:

        def every(position: int) -> None:
            bar.update()
            if not on_terminal and position % LOGGED_EVERY == 0:
                sys.stderr.write(f"{printable(operator)}: {position:,} of {max(expected, position):,} hold so far\n")

        yield every


if __name__ == "__main__":
    sys.exit(main())
