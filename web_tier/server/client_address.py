"""Find the address of a client: that of the peer, or the one that trusted proxies report (X-Forwarded-For)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from config.networks import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V6_PREFIX = 64
"""Length of the network prefix of one household: it can choose the other 64 bits of its addresses at will."""


class Proxies:
    """The proxies that are trusted, as networks."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def trust(self, address: str) -> bool:
        """Return whether the address is that of a trusted proxy."""
        parsed = parse_address(address)
        return parsed is not None and self._trust(parsed)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """Return the address of the client behind trusted proxies. `forwarded` has the X-Forwarded-For fields in order.

        Each proxy appends the address that it received the request from. So this reads from right to left, and only
        while the address that added the next entry is trusted: anybody may have written the entries further left. It
        stops at an entry that is not an address.
        """
        found = parse_address(peer)
        if found is None:
            return peer
        entries = [entry for field in forwarded for entry in field.split(",")]
        while entries and self._trust(found):
            forwarded_for = parse_address(entries.pop())
            if forwarded_for is None:
                break
            found = forwarded_for
        return str(found)

    def _trust(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """Return the address in an entry of X-Forwarded-For, with or without a port; None if there is none.

    Accepts `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`. An IPv4 address mapped
    to IPv6 becomes the IPv4 address; a zone (`%eth0`) is left out.
    """
    host = text.strip()
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif host.count(":") == 1:  # IPv6 has at least two colons
        host, _, port = host.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return unmapped(address)


def counted_as(address: str) -> str:
    """Return the name under which limits count an address: the network of an IPv6 address, others unchanged."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        network = int(parsed) >> (128 - _V6_PREFIX) << (128 - _V6_PREFIX)
        return str(ipaddress.IPv6Network((network, _V6_PREFIX)))
    return address if parsed is None else str(parsed)


def unmapped(address: Address) -> Address:
    """Return the IPv4 address of one mapped to IPv6 (`::ffff:192.0.2.1`), other addresses unchanged."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[:1] == ":" and len(digits) <= 5 and digits.isascii() and digits.isdigit() and int(digits) < 65_536
