"""Distinguish addresses of the open internet from those of private and special networks.

Python's `ipaddress` has such tables, too, but they differ between versions, and the oldest one this project runs on
lacks some entries. These are the blocks of IANA's registries, as of 2025-10-09:

- https://www.iana.org/assignments/iana-ipv4-special-registry
- https://www.iana.org/assignments/iana-ipv6-special-registry
- https://www.iana.org/assignments/ipv6-address-space and multicast-addresses, for what those two leave out

Some blocks count as special although the registry calls them globally reachable: no web server answers there, only the
nearest relay or translator, which may belong to the local network. Two kinds of address contain an IPv4 address to
which a translator or relay forwards the packets; the IPv4 address decides about them.
"""

from __future__ import annotations

import ipaddress

_IPV4_SPECIAL = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared between a provider and its customers
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, the metadata of cloud instances among it
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocols: DS-Lite, port control and TURN of the nearest gateway, NAT64 discovery
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # multicast relays
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the broadcast address
        ),
    )
)
_IPV6_GLOBAL = ipaddress.IPv6Network("2000::/3")
"""All allocated addresses. Outside are loopback, mapped and compatible addresses (::/8), discard-only (100::/64),
segment routing (5f00::/16), unique local (fc00::/7), link-local (fe80::/10), site-local (fec0::/10), multicast."""

_IPV6_SPECIAL = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # IETF protocols: Teredo, benchmarks, ORCHID, anycast services
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


def is_public(address: str) -> bool:
    """Return whether `address`, in numeric form, belongs to a host of the open internet.

    False for anything that is not an address, and for an address with a zone (`fe80::1%eth0`).
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in block for block in _IPV4_SPECIAL)
    if found.scope_id is not None:
        return False
    if found in _NAT64:
        return is_public(_ipv4(int(found)))
    if found in _6TO4:
        return is_public(_ipv4(int(found) >> 80))
    return found in _IPV6_GLOBAL and not any(found in block for block in _IPV6_SPECIAL)


def _ipv4(number: int) -> str:
    """Return the IPv4 address in the last 32 bits of `number`."""
    return str(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
