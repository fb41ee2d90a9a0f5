"""Who a request comes from: the peer, or what proxies that are trusted say of it (X-Forwarded-For)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from config.networks import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V6_PREFIX = 64
"""One household of IPv6, or one machine, has at least so many bits to choose its addresses from."""


class Proxies:
    """The proxies whose word is taken, as networks; none is trusted unless it is named."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def trust(self, address: str) -> bool:
        parsed = address_in(address)
        return parsed is not None and self._trust(parsed)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """The address of the client behind trusted proxies; `forwarded` has the X-Forwarded-For fields in order.

        Each proxy appends whom it heard the request from. So the walk goes from right to left, and only as long as the
        address that vouches for the next one is trusted: what stands further to the left anybody may have written. It
        ends at an entry that is no address.
        """
        found = address_in(peer)
        if found is None:
            return peer
        entries = [entry for field in forwarded for entry in field.split(",")]
        while entries and self._trust(found):
            said = address_in(entries.pop())
            if said is None:
                break
            found = said
        return str(found)

    def _trust(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def address_in(text: str) -> Address | None:
    """The address in an entry of X-Forwarded-For, with or without a port; None where there is none.

    Takes `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`. An IPv4 address within
    an IPv6 one is the IPv4 address; a zone (`%eth0`) is left off.
    """
    host = text.strip()
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif host.count(":") == 1:  # IPv6 has two at least
        host, _, port = host.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return unmapped(address)


def counted_as(address: str) -> str:
    """The name under which limits count an address: an IPv6 one under its network, others as they are."""
    parsed = address_in(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        network = int(parsed) >> (128 - _V6_PREFIX) << (128 - _V6_PREFIX)
        return str(ipaddress.IPv6Network((network, _V6_PREFIX)))
    return address if parsed is None else str(parsed)


def unmapped(address: Address) -> Address:
    """An IPv4 address that came in the form of an IPv6 one (`::ffff:192.0.2.1`) as what it is."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[:1] == ":" and len(digits) <= 5 and digits.isascii() and digits.isdigit() and int(digits) < 65_536
