"""Operators, their members, keys and limits, from the command line.

python backend/tenants.py operators list
python backend/tenants.py operators set acme --name "Acme Compute"
python backend/tenants.py members set acme <user id> admin
python backend/tenants.py keys make acme "training agent" --role member
python backend/tenants.py keys revoke acme <key id>
python backend/tenants.py limits set acme workloads_per_hour 500
python backend/tenants.py audit acme

It works on the database that the settings choose, as its owner, like the servers' own work. A key is shown once.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from clock import utc_now
from database.errors import DatabaseError
from database.interface import Database
from database.opening import open_database
from grid.half_hours import from_rfc3339
from printable import LONGEST_REASON, printable
from settings import SettingsError, load_settings
from tenancy.administration import (
    LONGEST_KEY_DAYS,
    LONGEST_OVERLAP,
    USUAL_KEY_DAYS,
    ChangeRefused,
    KeyEntry,
    Keys,
    NewKey,
    PlatformFunctions,
    checked,
)
from tenancy.scopes import Role, Scope
from tenancy.tables import table

LONGEST_AUDIT = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    asked = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        with closing(open_database(load_settings())) as database:
            sys.stdout.write(answer(asked, database, utc_now()) + "\n")
    except (ChangeRefused, SettingsError, DatabaseError) as error:
        sys.stderr.write(f"{asked.command}: {printable(error, LONGEST_REASON)}\n")
        return 1
    return 0


def answer(asked: argparse.Namespace, database: Database, now: datetime) -> str:
    """What a command answers.

    Raises:
        ChangeRefused: what it asks for cannot be.
        DatabaseError: the database does not answer, or refuses a value.
    """
    return str(asked.run(database, asked, now))


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    made = argparse.ArgumentParser(prog="tenants.py", description="Operators, their members, keys and limits.")
    commands = made.add_subparsers(dest="command", required=True)
    _operator_commands(commands)
    _member_commands(commands)
    _key_commands(commands)
    _limit_commands(commands)
    audit = commands.add_parser("audit", help="what was changed and refused, newest first")
    audit.add_argument("operator", nargs="?", help="only this operator's")
    audit.add_argument("--limit", type=_up_to(LONGEST_AUDIT), default=50, help="how many to show (default: 50)")
    audit.set_defaults(run=_audit)
    return made


def _operator_commands(commands: Any) -> None:
    actions = _actions(commands, "operators", "the operators of this installation")
    _action(actions, "list", "show them", _operators)
    setting = _action(actions, "set", "make one, or change its entry", _set_operator)
    setting.add_argument("operator", help="its id, such as acme")
    setting.add_argument("--name", help="what people call it (default: its id)")
    setting.add_argument("--type", help="such as COLOCATION or OTHER")
    setting.add_argument("--country", help="ISO 3166-1 alpha-2, such as GB")


def _member_commands(commands: Any) -> None:
    actions = _actions(commands, "members", "the members of an operator")
    _action(actions, "list", "show them", _members).add_argument("operator")
    setting = _action(actions, "set", "make somebody a member, or change the role", _set_member)
    setting.add_argument("operator")
    setting.add_argument("user", help="the subject (sub) of the user's tokens")
    setting.add_argument("role", choices=[str(role) for role in Role if role is not Role.PLATFORM])
    removing = _action(actions, "remove", "end a membership, at once", _remove_member)
    removing.add_argument("operator")
    removing.add_argument("user")


def _key_commands(commands: Any) -> None:
    actions = _actions(commands, "keys", "the keys of an operator")
    listing = _action(actions, "list", "show them, but never the keys themselves", _keys)
    listing.add_argument("operator")
    listing.add_argument("--all", action="store_true", help="revoked and expired ones too")
    making = _action(actions, "make", "make one, and show it this once", _make_key)
    making.add_argument("operator")
    making.add_argument("name", help="what it is for")
    making.add_argument("--role", choices=[str(role) for role in Role], default=str(Role.MEMBER))
    making.add_argument("--scopes", help=f"with commas between them (default: the role's): {', '.join(Scope)}")
    making.add_argument("--days", type=_up_to(LONGEST_KEY_DAYS), default=USUAL_KEY_DAYS, help="for how long")
    making.add_argument("--account", help="the service account that it is for (default: a new one)")
    rolling = _action(actions, "roll", "put a new one in the place of one", _roll_key)
    rolling.add_argument("operator")
    rolling.add_argument("key_id")
    longest_h = int(LONGEST_OVERLAP.total_seconds() // 3600)
    rolling.add_argument(
        "--overlap-hours", type=_up_to(longest_h, least=0), default=0, help="how long the old one goes on"
    )
    revoking = _action(actions, "revoke", "end one, everywhere within ten seconds", _revoke_key)
    revoking.add_argument("operator")
    revoking.add_argument("key_id")


def _limit_commands(commands: Any) -> None:
    actions = _actions(commands, "limits", "how much of the platform an operator may use")
    _action(actions, "list", "show them", _limits).add_argument("operator")
    setting = _action(actions, "set", "change one", _set_limit)
    setting.add_argument("operator")
    setting.add_argument("limit", help="its name, as in the list")
    setting.add_argument("capacity", help="a number, or usual")


def _actions(commands: Any, name: str, about: str) -> Any:
    return commands.add_parser(name, help=about).add_subparsers(dest="action", required=True)


def _action(
    actions: Any, name: str, about: str, run: Callable[[Database, argparse.Namespace, datetime], str]
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(name, help=about)
    made.set_defaults(run=run)
    return made


def _up_to(most: int, *, least: int = 1) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise argparse.ArgumentTypeError(f"takes {least} to {most}")
        return int(text)

    return number


def _operators(database: Database, _: argparse.Namespace, __: datetime) -> str:
    found = database.call("tenancy_operators", repeatable=True)
    columns = ("operator_id", "name", "operator_type", "country", "members", "keys")
    return table(
        ("operator", "name", "type", "country", "members", "keys"),
        [[each[column] for column in columns] for each in found],
    )


def _set_operator(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    entry = {"name": asked.name, "operator_type": asked.type, "country": asked.country}
    given = {name: value for name, value in entry.items() if value is not None}
    arguments = {"p_operator": {"operator_id": asked.operator, **given}, "p_by": _by()}
    stored = database.call("tenancy_set_operator", arguments)
    return f"{stored['operator_id']}: {stored['name']}"


def _members(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    found = _functions(database, asked).read("members")
    rows = [
        (each["user_id"], each["role"], each["name"], each["created_by"], from_rfc3339(each["created_at"]))
        for each in found
    ]
    return table(("user", "role", "service account", "made by", "made"), rows)


def _set_member(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    arguments = {"p_user_id": asked.user, "p_role": asked.role}
    checked(_functions(database, asked).change("set_member", arguments), "set")
    return f"{asked.user} is {asked.role} of {asked.operator}"


def _remove_member(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    checked(_functions(database, asked).change("remove_member", {"p_user_id": asked.user}), "removed")
    return f"{asked.user} is no longer a member of {asked.operator}"


def _keys(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    found = [each for each in _keys_of(database, asked).all() if asked.all or each.usable]
    return table(
        ("key", "name", "role", "scopes", "made", "expires", "last used", "state"),
        [
            (
                each.key_id,
                each.name,
                each.role,
                each.scopes,
                each.created_at,
                each.expires_at,
                each.last_used_at,
                _state(each),
            )
            for each in found
        ],
    )


def _state(key: KeyEntry) -> str:
    if key.usable:
        return "usable"
    return "expired" if key.revoked_at is None else "revoked"


def _make_key(database: Database, asked: argparse.Namespace, now: datetime) -> str:
    key, entry = _keys_of(database, asked).make(
        NewKey(
            name=asked.name,
            role=Role(asked.role),
            scopes=None if asked.scopes is None else _scopes(asked.scopes),
            expires_at=now + timedelta(days=asked.days),
            service_account_id=asked.account,
        )
    )
    return _shown(key.text, entry)


def _roll_key(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    overlap = timedelta(hours=asked.overlap_hours)
    key, entry, ends_at = _keys_of(database, asked).roll(asked.key_id, overlap=overlap)
    return f"{_shown(key.text, entry)}\nThe old one, {asked.key_id}, ends at {ends_at:%Y-%m-%d %H:%MZ}."


def _revoke_key(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    _keys_of(database, asked).revoke(asked.key_id)
    return f"{asked.key_id} is revoked: within ten seconds it opens nothing anywhere"


def _limits(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    found = _functions(database, asked).read("limits")
    rows = [
        (each["name"], each["capacity"], each["per_seconds"], "usual" if each["is_default"] else "set")
        for each in found
    ]
    return table(("limit", "capacity", "per seconds", ""), rows)


def _set_limit(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    capacity = None if asked.capacity == "usual" else _number(asked.capacity)
    arguments = {"p_name": asked.limit, "p_capacity": capacity}
    checked(_functions(database, asked).change("set_limit", arguments), "set")
    return f"{asked.limit} of {asked.operator} is {asked.capacity}"


def _audit(database: Database, asked: argparse.Namespace, _: datetime) -> str:
    arguments = {"p_operator": asked.operator, "p_limit": asked.limit}
    found = database.call("tenancy_audit_events", arguments, repeatable=True)["events"]
    columns = ("operator_id", "principal", "credential_id", "action", "object", "outcome", "request_id")
    return table(
        ("at", "operator", "principal", "credential", "action", "object", "outcome", "request"),
        [(from_rfc3339(each["at"]), *(each[column] for column in columns)) for each in found],
    )


def _functions(database: Database, asked: argparse.Namespace) -> PlatformFunctions:
    return PlatformFunctions(database, asked.operator, _by())


def _keys_of(database: Database, asked: argparse.Namespace) -> Keys:
    return Keys(_functions(database, asked), asked.operator, frozenset(Scope))


def _shown(text: str, entry: KeyEntry) -> str:
    return (
        f"{text}\n"
        "This is the only time that it is shown. Send it as Authorization: Bearer <key>.\n"
        f"It is a {entry.role}'s of {entry.operator_id}, good for {', '.join(entry.scopes) or 'nothing'} "
        f"until {entry.expires_at:%Y-%m-%d %H:%MZ}."
    )


def _scopes(text: str) -> frozenset[Scope]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(map(str, Scope))]
    if unknown:
        raise ChangeRefused("scopes", f"there is no scope {unknown[0]}: there are {', '.join(Scope)}")
    return frozenset(map(Scope, names))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ChangeRefused("capacity", f"{text} is neither a number nor usual")
    return int(text)


def _by() -> str:
    """Who runs the command, for the audit."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without a name, as in a container
        return "command"


if __name__ == "__main__":
    sys.exit(main())
