"""A buyer's tool: finds a slot for a workload, orders it, and follows it to its end.

python backend/beckn/buyer.py workload.json

The workload is a JSON object as POST /api/v1/workloads takes it; `-` reads it from the standard input. The search
goes through the gateway, everything else to the provider whose slot is chosen; callbacks arrive at BECKN_BAP_URL.
After the first provider's answer the others' are waited for, --wait seconds, and the slots of all are one list. What
is confirmed is what was shown, within the limits of the workload: where a provider says something else in between,
one line says what, and nothing is ordered.

On the network's own machine the tool registers its key by itself; elsewhere, with --registry, an operator adds it
first, with the command that the tool shows.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

if __name__ == "__main__":  # run by its path, when Python looks for modules beside this file and not above
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pydantic import ValidationError

from beckn.buying.agreement import (
    NotAsShown,
    ShownQuote,
    check_draft,
    check_news,
    check_order,
    confirmation,
    quoted,
)
from beckn.buying.messages import TO_BE_PAID, BuyerWorkload, Option, Transaction, best_first
from beckn.buying.platform import Buyer, NotAnswered
from beckn.network.keys import KeyUnusable, MessageSigner, OwnKey, own_key
from beckn.network.presence import Presence
from beckn.network.registry_client import LookupRegistry, NotSubscribed, RegistryUnavailable
from beckn.network.settings import NetworkSettings, load_network_settings
from beckn.network.subscribers import Registry, Role, SubscriptionRefused, same_url
from beckn.protocol.objects import DOMAIN, Subscriber, Tag
from beckn.provider.messages_order import Billing, Order, OrderStatus
from beckn.provider.quotes import amount_text
from clock import utc_now
from database.errors import DatabaseError
from database.opening import open_database
from grid.half_hours import rfc3339
from printable import printable
from queueing.process_name import process_name
from settings import Settings, SettingsError, load_settings

STATUS_EVERY_S = 60.0
"""How long to wait for news before the order's status is asked for."""

WAIT_S = 2.0
"""How long after the first provider's answer the others' are waited for."""

LONGEST_WAIT_S = 60.0
MOST_SHOWN = 50
LONGEST_SHOWN = 64
LONGEST_TOLD = 2000


class WrongWorkload(Exception):
    """The workload's file cannot be used; the message says why."""


class NotRegistered(Exception):
    """The registry does not have this buyer; the message says what its operator can do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 0 when the order completed, or when nothing was to be ordered."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        settings = load_settings()
        network = load_network_settings(settings)
        deal = Transaction(_workload(asked.workload))
        with _buyer(settings, network, asked.registry) as buyer:
            return _buy(buyer, deal, network, asked)
    except (
        WrongWorkload,
        NotRegistered,
        NotAnswered,
        NotAsShown,
        RegistryUnavailable,
        KeyUnusable,
        SubscriptionRefused,
        SettingsError,
        DatabaseError,
        OSError,
    ) as error:
        sys.stderr.write(f"{printable(error, LONGEST_TOLD)}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def options_table(options: Sequence[Option], workload: BuyerWorkload) -> str:
    """The slots as a table, best first; with several providers it says whose each is."""
    several = len({option.provider.subscriber_id for option in options}) > 1
    head = ("", "slot", "starts (UTC)", "ends", "score", "gCO2", "kWh", "GBP", *(("provider",) if several else ()))
    rows = [head, *(_cells(number, option, workload, several) for number, option in enumerate(options, start=1))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def order_news(order: Order) -> str:
    """How an order is doing: a line, and one for each group of tags."""
    state = next((each.state.descriptor.code for each in order.fulfillments if each.state), "?")
    parts = [f"order {_short(order.id)}: {_short(order.status)} {_short(state)}"]
    for fulfillment in order.fulfillments[:1]:
        for group in (fulfillment.tags or ())[:MOST_SHOWN]:
            tags = ", ".join(map(_shown, group.list[:MOST_SHOWN]))
            parts.append(f"{_short(group.descriptor.code)}: {tags}")
    if order.cancellation:
        reason = order.cancellation.reason.descriptor.short_desc
        parts.append(f"by {order.cancellation.cancelled_by}: {printable(reason or 'no reason given')}")
    return "\n    ".join(parts)


def _buy(buyer: Buyer, deal: Transaction, network: NetworkSettings, asked: argparse.Namespace) -> int:
    _say(f"transaction {deal.transaction_id}: searching for {deal.workload.job_id}")
    message_id = buyer.search(deal, asked.provider or network.beckn_bg_url, page=asked.page)
    found, why = buyer.options(message_id, collect_s=0 if asked.provider else asked.wait)
    options = best_first(found, deal.workload)
    if not options:
        _say(f"no slot: {printable(why or 'the provider gives no reason')}")
        return 0
    shown = options[: max(MOST_SHOWN, asked.choose)]
    of_all = f", {len(shown)} of them shown" if len(shown) < len(options) else ""
    _say(f"{len(options)} slots, best first{of_all}\n{options_table(shown, deal.workload)}")
    if asked.search_only:
        return 0
    if not 1 <= asked.choose <= len(options):
        raise NotAnswered(f"--choose takes a number from 1 to {len(options)}")
    shown_quote = _agreed(buyer, deal, options[asked.choose - 1], Billing(name=asked.billing_name))
    order = buyer.order(deal, shown_quote.option, confirmation(shown_quote, Billing(name=asked.billing_name)))
    check_order(shown_quote, order)
    _say(order_news(order))
    return _follow(buyer, shown_quote, order)


def _agreed(buyer: Buyer, deal: Transaction, chosen: Option, billing: Billing) -> ShownQuote:
    """The quote for a slot, shown; its draft is the same."""
    quote = quoted(deal, chosen, buyer.select(deal, chosen))
    _say(f"quote {quote.quote_id}: £{amount_text(quote.price_gbp)}, to be paid {TO_BE_PAID}")
    for title, amount_gbp in quote.lines:
        _say(f"    £{amount_text(amount_gbp)}  {printable(title)}")
    check_draft(quote, billing, buyer.init(deal, chosen, billing))
    return quote


def _follow(buyer: Buyer, shown: ShownQuote, order: Order) -> int:
    confirmed = order
    while order.status is OrderStatus.ACTIVE:
        news = buyer.next_news(shown.deal, STATUS_EVERY_S)
        if news is None and order.id:
            news = buyer.status(shown.deal, shown.option.provider, order.id)
        if news is not None and news != order:
            check_news(shown, confirmed, news)
            order = news
            _say(order_news(order))
    return 0 if order.status is OrderStatus.COMPLETE else 1


@contextmanager
def _buyer(settings: Settings, network: NetworkSettings, registry_url: str | None) -> Iterator[Buyer]:
    """The buyer's platform, registered and listening."""
    own = network.buyer
    key = own_key(settings.pylon_data_dir, own.subscriber_id)
    signer = MessageSigner(own.subscriber_id, key)
    parts = urlsplit(own.url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    if registry_url:
        subscribers = LookupRegistry(registry_url, signer, clock=utc_now)
        _check_registered(subscribers, own, key)
        buyer = Buyer(own, signer, subscribers, authenticates=network.authenticates)
        with buyer.listening(host, port):
            yield buyer
        return
    with closing(open_database(settings)) as database:
        registry = Registry(database)
        registry.add_own(own, Role.BAP, key, domain=DOMAIN, now=utc_now())
        presence = Presence(database, own.subscriber_id, Role.BAP, process_name())
        presence.start()
        try:
            buyer = Buyer(own, signer, registry, authenticates=network.authenticates)
            with buyer.listening(host, port):
                yield buyer
        finally:
            presence.stop()


def _check_registered(registry: LookupRegistry, own: Subscriber, key: OwnKey) -> None:
    try:
        found = registry.find(own.subscriber_id, key.key_id)
    except NotSubscribed:
        found = None
    if found is None or not same_url(found.url, own.url):
        private = " --private-address" if _is_private(urlsplit(own.url).hostname or "") else ""
        raise NotRegistered(
            f"{own.subscriber_id} is not in the registry with its key and URL; an operator adds it there with: "
            f"python backend/beckn/registry.py add --type {Role.BAP} --id {own.subscriber_id} --url {own.url} "
            f"--key-id {key.key_id} --public-key {key.signing.public_key}{private}"
        )


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost"


def _workload(path: str) -> BuyerWorkload:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return BuyerWorkload.model_validate_json(text)
    except OSError as error:
        raise WrongWorkload(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongWorkload(f"{path} is not UTF-8 text") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "it"
        raise WrongWorkload(f"{path}: {name}: {first['msg']}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="buyer.py", description="Order a compute slot for a workload.")
    parser.add_argument("workload", help="a file with the workload as a JSON object, or - for standard input")
    parser.add_argument(
        "--choose", type=int, default=1, metavar="N", help="which slot to order (default: 1, the best)"
    )
    parser.add_argument("--page", type=int, metavar="N", help="which page of the slots to show (default: 1)")
    parser.add_argument("--search-only", action="store_true", help="show the slots and order none")
    parser.add_argument("--provider", metavar="URL", help="search this provider directly, not through the gateway")
    parser.add_argument(
        "--registry", metavar="URL", help="ask this registry for keys, such as http://host:5050/registry"
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=WAIT_S,
        metavar="S",
        help=f"how many seconds after the first answer to wait for other providers' (default: {WAIT_S:g})",
    )
    parser.add_argument("--billing-name", default="Pylon DEG buyer", help="who pays")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"it takes 0 to {LONGEST_WAIT_S:g}")
    return seconds


def _cells(number: int, option: Option, workload: BuyerWorkload, several: bool) -> tuple[str, ...]:
    whole = option.item.time.range if option.item.time else None
    start = f"{whole.start:%Y-%m-%d %H:%M:%S}" if whole and whole.start else ""
    end = f"{whole.end:%H:%M:%S}" if whole and whole.end else ""
    figures = (option.tag("suitability", "score"), *(option.tag("estimate", each) for each in _ESTIMATES))
    cost_gbp = option.cost_gbp(workload)
    told = (*(figure or "unknown" for figure in figures), "unknown" if cost_gbp is None else amount_text(cost_gbp))
    provider = (option.provider.subscriber_id,) if several else ()
    return (str(number), *map(_short, (option.item.id, start, end, *told, *provider)))


_ESTIMATES = ("carbon-gco2", "energy-kwh")


def _short(text: str | None) -> str:
    return printable("?" if text is None else text, LONGEST_SHOWN)


def _shown(tag: Tag) -> str:
    return f"{_short(tag.descriptor.code)} {_short(tag.value)}"


def _say(text: str) -> None:
    sys.stdout.write(f"{rfc3339(utc_now().replace(microsecond=0))}  {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
