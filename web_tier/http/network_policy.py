"""Decide whether other machines can reach a server, and so whether it asks for keys and may start without one."""

from __future__ import annotations

import ipaddress

from config.settings import BadSetting, Settings
from web_tier.server.client_address import unmapped


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address to listen on. Raises BadSetting if `host` is not an address of a machine."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise BadSetting(
            f"setting host: {host!r} is not an address; use 127.0.0.1, ::1 or localhost, or an address of this machine"
        ) from None


def asks_for_keys(settings: Settings) -> bool:
    """Tell whether requests need a key: if others can reach the server, directly or through a proxy by its name."""
    web = settings.web
    return web.require_keys or bool(web.host_names) or not unmapped(address_of(settings.host)).is_loopback


def url_of(host: str, port: int) -> str:
    """Return the URL at which this machine itself reaches a server that listens on `host`."""
    address = address_of(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{f'[{address}]' if address.version == 6 else address}:{port}"


def check(settings: Settings) -> None:
    """Raise BadSetting if keys are required and none exists. Migrates the catalogue first (`migrate`)."""
    if not asks_for_keys(settings):
        return
    from web_tier.catalog.database import Database, catalog_url, migrate
    from web_tier.catalog.keys import KeyCatalog  # here, so that `up` loads SQLAlchemy only where keys are asked for

    migrate(catalog_url(settings))
    database = Database(catalog_url(settings))
    try:
        found = KeyCatalog(database).any_live()
    finally:
        database.close()
    if not found:
        raise BadSetting(
            f"setting host: {settings.host} with these settings is open to other machines, and no key exists"
            "; create one with `tagfleet keys create NAME`, or use 127.0.0.1, ::1 or localhost"
        )
