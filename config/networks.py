"""Parses the networks in settings."""

from __future__ import annotations

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Return the addresses and networks in `text`, which are separated by commas or spaces.

    Raises ValueError, with a sentence, for anything else, and for a network of all addresses.
    """
    found = []
    for word in text.replace(",", " ").split():
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise ValueError(f"{word!r} is neither an address nor a network such as 10.0.0.0/16") from None
        if not network.prefixlen:
            raise ValueError(f"{word} covers all addresses: anybody could claim to be somebody else")
        found.append(network)
    return tuple(found)
