"""Where a webhook may go: addresses of the open internet, unless a setting allows others."""

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
"""The addresses of a host's name. Raises OSError where it has none."""

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


class BadTarget(TagfleetError):
    """Nothing is sent to this address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, and the addresses to connect to for it: the name is not looked up a second time."""

    host: str
    port: int
    tls: bool
    path: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def look_up(host: str, port: int) -> list[str]:
    """By the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]


def target_of(url: str, *, allow_private: bool, resolve: Resolve = look_up) -> Target:
    """The target of `url`, with its address checked.

    Without `allow_private` it must be https, and every address that its name has must be one of the open internet.
    Raises BadTarget.
    """
    host, port, tls, path = _parsed(url)
    if not tls and not allow_private:
        raise BadTarget("a webhook's URL begins with https:// (the setting webhooks.allow_private allows http too)")
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):  # UnicodeError: a name with an empty or overlong part
        raise BadTarget(f"the name {host[:100]} has no address") from None
    if not addresses:
        raise BadTarget(f"the name {host[:100]} has no address")
    if not allow_private and not all(map(is_public, addresses)):
        raise BadTarget(
            f"{host[:100]} lies in a private network, where webhooks do not go (setting webhooks.allow_private)"
        )
    return Target(host, port, tls, path, tuple(addresses))


def _parsed(url: str) -> tuple[str, int, bool, str]:
    problem = BadTarget("a webhook's URL looks like https://host/path, without user name and fragment")
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url):
        raise problem
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.fragment or port == 0:
        raise problem
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or (443 if tls else 80), tls, path
