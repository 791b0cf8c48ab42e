"""Which addresses may be called, and what a host's name leads to.

The address behind a name is looked at before anything is sent, and is the one that is connected to, so a name that
changes its address in between deceives nobody.
"""

from __future__ import annotations

import ipaddress

from outgoing.failures import AddressRefused
from outgoing.name_lookups import NameLookups
from vocabulary import StrEnum

_LOOKUPS = NameLookups()

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
# RFC 4291: what is outside leads into a site, to this machine, or by a translator to who knows where. Python's lists
# of what is private lack some of it, and others in each version.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


class AddressPolicy(StrEnum):
    """Which addresses may be called."""

    PUBLIC = "public"
    ANYWHERE = "anywhere"
    LOOPBACK = "loopback"


def addresses_of(host: str, port: int, *, within_s: float) -> list[str]:
    """The addresses of a host, in the order to be tried.

    Raises:
        TimeoutError: the name is not looked up in time, for which the system's own patience may be a minute.
        OSError: it has none, or too many names are looked up already.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    return _LOOKUPS.addresses(host, port, within_s=within_s)


def check_address(address: str, host: str, reach: AddressPolicy) -> None:
    """Raise AddressRefused if an address of `host` is not within `reach`."""
    if reach is AddressPolicy.ANYWHERE:
        return
    ip = _destination(address.partition("%")[0])
    if reach is AddressPolicy.LOOPBACK and not ip.is_loopback:
        raise AddressRefused(
            f"{host} is {ip}, which is not this machine: with BECKN_AUTH=off no other machine is called"
        )
    if reach is AddressPolicy.PUBLIC and not _is_public(ip):
        raise AddressRefused(
            f"{host} is {ip}, which is private: an operator may allow it with registry.py add --private-address"
        )


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast


def _destination(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Where an address leads: an IPv6 one that carries an IPv4 one leads there."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or translated or ip
