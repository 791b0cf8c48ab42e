"""The network's subscribers, from the command line.

python backend/beckn/registry.py list
python backend/beckn/registry.py add --type BPP --id provider.example.org --url https://provider.example.org/beckn \\
    --public-key <base64>
python backend/beckn/registry.py revoke provider.example.org

It works on the database that the settings choose, like the servers. This machine's own platforms register themselves
when they start.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run by its path, when Python looks for modules beside this file and not above
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import logging
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from uuid import uuid4

from pydantic import ValidationError

from beckn.network.subscribers import (
    Place,
    Registry,
    Role,
    Subscription,
    SubscriptionRefused,
    SubscriptionStatus,
    Territory,
)
from beckn.protocol.objects import ANY_CITY, COUNTRY, DOMAIN
from beckn.protocol.signing import read_public_key
from clock import utc_now
from database.errors import DatabaseError
from database.opening import open_database
from grid.half_hours import rfc3339
from printable import LONGEST_REASON, printable
from settings import SettingsError, load_settings

LONGEST_VALID_DAYS = 36_500


class WrongArgument(Exception):
    """An argument cannot be; the message says which and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    asked = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        with closing(open_database(load_settings())) as database:
            sys.stdout.write(answer(asked, Registry(database), utc_now()) + "\n")
    except (WrongArgument, SubscriptionRefused, SettingsError, DatabaseError) as error:
        sys.stderr.write(f"{asked.command}: {printable(error, LONGEST_REASON)}\n")
        return 1
    return 0


def answer(asked: argparse.Namespace, registry: Registry, now: datetime) -> str:
    """What a command answers.

    Raises:
        WrongArgument: there is no such subscription, or cannot be.
        SubscriptionRefused: another has the key.
    """
    return str(asked.run(registry, asked, now))


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    made = argparse.ArgumentParser(prog="registry.py", description="The subscribers of the Beckn network.")
    commands = made.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="show the subscribers")
    listing.add_argument("--all", action="store_true", help="include revoked and expired ones")
    listing.set_defaults(run=_list)

    adding = commands.add_parser("add", help="add a subscriber, or change the URL of the one with this key")
    adding.add_argument(
        "--type", required=True, choices=[str(role) for role in Role], help="buyer, provider, gateway"
    )
    adding.add_argument("--id", required=True, help="its subscriber id, such as provider.example.org")
    adding.add_argument("--url", required=True, help="where it is called: /search, /on_search … are added to it")
    adding.add_argument("--public-key", required=True, help="its Ed25519 signing key: 32 bytes in base64")
    adding.add_argument(
        "--key-id",
        default=str(uuid4()),
        help="a name for the key: any text without | or quotes (default: a new UUID)",
    )
    adding.add_argument("--domain", default=DOMAIN, help=f"default: {DOMAIN}")
    adding.add_argument("--country", default=COUNTRY, help=f"ISO 3166-1 alpha-3, or * (default: {COUNTRY})")
    adding.add_argument("--city", default=ANY_CITY, help="city code, or * (default)")
    adding.add_argument("--valid-days", type=int, default=365, help="for how many days it is valid (default: 365)")
    adding.add_argument(
        "--operator", help="the operator of this installation that it speaks for: what it buys is that operator's"
    )
    adding.add_argument(
        "--private-address", action="store_true", help="its URL may lead to this machine or into a private network"
    )
    adding.set_defaults(run=_add)

    revoking = commands.add_parser("revoke", help="end the subscriptions of a platform: its messages are refused")
    revoking.add_argument("id", help="its subscriber id")
    revoking.add_argument("--key-id", help="only the subscription with this key")
    revoking.set_defaults(run=_revoke)
    return made


def _list(registry: Registry, asked: argparse.Namespace, now: datetime) -> str:
    shown = [each for each in registry.everyone() if asked.all or each.is_present(now)]
    if not shown:
        return (
            "There are no subscribers: platforms on this machine register when they start, and add registers others."
        )
    return "\n".join(_described(each, now) for each in shown)


def _described(each: Subscription, now: datetime) -> str:
    expired = each.status is SubscriptionStatus.SUBSCRIBED and not each.is_present(now)
    status = SubscriptionStatus.EXPIRED if expired else each.status
    places = (each.location.country, each.location.city) if each.location else ()
    place = " ".join(place.code for place in places if place and place.code) or "everywhere"
    private = ", may be a private address" if each.private_address else ""
    operator = f"\n    speaks for {each.operator}" if each.operator else ""
    return (
        f"{each.subscriber_id}  {each.type}  {status}\n"
        f"    {each.url}{private}\n"
        f"    {each.domain}, {place}\n"
        f"    key {each.key_id}  {each.signing_public_key}  until {rfc3339(each.valid_until)}"
        f"{operator}"
    )


def _add(registry: Registry, asked: argparse.Namespace, now: datetime) -> str:
    if not 1 <= asked.valid_days <= LONGEST_VALID_DAYS:
        raise WrongArgument(f"--valid-days takes 1 to {LONGEST_VALID_DAYS}")
    try:
        read_public_key(asked.public_key)
        subscription = Subscription(
            subscriber_id=asked.id,
            url=asked.url,
            type=Role(asked.type),
            domain=asked.domain,
            location=Territory(country=Place(code=asked.country), city=Place(code=asked.city)),
            key_id=asked.key_id,
            signing_public_key=asked.public_key,
            valid_from=now,
            valid_until=now + timedelta(days=asked.valid_days),
            private_address=asked.private_address,
            operator=asked.operator,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).removeprefix("subscriber_")
        raise WrongArgument(f"{name}={first['input']!r}: {first['msg']}") from None
    except ValueError as error:
        raise WrongArgument(str(error)) from None
    registry.add(subscription)
    return _described(subscription, now)


def _revoke(registry: Registry, asked: argparse.Namespace, now: datetime) -> str:
    revoked = registry.revoke(asked.id, asked.key_id, now)
    if not revoked:
        raise WrongArgument(f"{asked.id} has no such subscription: list shows which there are")
    return f"revoked {revoked} of {asked.id}: its messages are refused from now on"


if __name__ == "__main__":
    sys.exit(main())
