"""Check where a webhook may go: to addresses of the open internet, unless a setting allows others."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import TagfleetError
from web_tier.services.public_addresses import is_public

MAX_URL = 2000

Resolve = Callable[[str, int], list[str]]
"""Returns the addresses of a host name. Raises OSError if it has none."""

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


class BadTarget(TagfleetError):
    """Nothing may be sent to this URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL with the addresses to connect to, so that the name is not looked up a second time."""

    host: str
    port: int
    tls: bool
    path: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def look_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


def resolve_target(url: str, *, allow_private: bool, resolve: Resolve = look_up) -> Target:
    """Return the target of `url`, with its addresses checked.

    Without `allow_private` the URL must be https, and all addresses of its name must be of the open internet. Raises
    BadTarget.
    """
    host, port, tls, path = _parsed(url)
    if not tls and not allow_private:
        raise BadTarget(
            "a webhook's URL must begin with https:// (the setting webhooks.allow_private allows http, too)"
        )
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):  # UnicodeError: a label of the name is empty or too long
        raise BadTarget(f"the name {host[:100]} has no address") from None
    if not addresses:
        raise BadTarget(f"the name {host[:100]} has no address")
    if not allow_private and not all(map(is_public, addresses)):
        raise BadTarget(
            f"{host[:100]} is in a private network, where webhooks do not go;"
            " an operator can allow it with webhooks.allow_private"
        )
    return Target(host, port, tls, path, tuple(addresses))


def _parsed(url: str) -> tuple[str, int, bool, str]:
    problem = BadTarget("a webhook's URL must look like https://host/path, without user name and fragment")
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        raise problem
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError:
        raise problem from None
    if split.scheme not in ("http", "https") or not host or "@" in split.netloc or split.fragment or port == 0:
        raise problem
    tls = split.scheme == "https"
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    return host, port or (443 if tls else 80), tls, path
