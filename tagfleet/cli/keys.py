"""`tagfleet keys`: create, list and revoke API keys.

The command works on the catalogue itself. The web tier need not run, and may need a first key before it can start.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from config.settings import Settings
from tagfleet.cli.common import with_settings
from tagfleet.tagging.report import printable
from tagfleet.text_tables import Column, echo_table

if TYPE_CHECKING:
    from web_tier.catalog.keys import KeyCatalog

_SCOPES = ("read", "write", "operate")


@click.group("keys")
def command() -> None:
    """Create, list and revoke keys for the API and the page.

    The service asks for a key on every address except this machine's own.
    """


@command.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    default=("read", "write"),
    show_default=True,
    help="what the key allows (repeat for several)",
)
@with_settings()
def create_command(settings: Settings, name: str, scopes: tuple[str, ...]) -> None:
    """Create a key and print it. NAME says whose it is. The key cannot be shown again."""
    if not 0 < len(name) <= 100:
        raise click.BadParameter("it must have 1 to 100 characters", param_hint="NAME")
    with _catalog(settings) as keys:
        key, secret = keys.create(name, scopes, time.time())
    click.echo(f"{key.id}, scopes {', '.join(key.scopes)}. Keep the key: it cannot be shown again.", err=True)
    click.echo(secret)


@command.command("list")
@with_settings()
def list_command(settings: Settings) -> None:
    """Show all keys, newest first, without their secrets."""
    with _catalog(settings) as keys:
        found = keys.list_all()
    rows = []
    for key in found:
        used = "never used" if key.last_used_at is None else f"last used {_moment(key.last_used_at)}"
        ended = "" if key.revoked_at is None else f"revoked {_moment(key.revoked_at)}"
        rows.append((key.id, ",".join(key.scopes), f"made {_moment(key.created_at)}", used, ended, printable(key.name)))
    echo_table([Column()] * 6, rows)
    if not found:
        click.echo("no keys", err=True)


@command.command("revoke")
@click.argument("key_id")
@with_settings()
def revoke_command(settings: Settings, key_id: str) -> None:
    """Revoke a key and end its sessions. `list` shows each KEY_ID."""
    with _catalog(settings) as keys:
        keys.revoke(key_id, time.time())
    click.echo(f"{printable(key_id)} is revoked")


@contextmanager
def _catalog(settings: Settings) -> Iterator[KeyCatalog]:
    from web_tier.catalog.database import Database, catalog_url, migrate
    from web_tier.catalog.keys import KeyCatalog

    migrate(catalog_url(settings))
    database = Database(catalog_url(settings))
    try:
        yield KeyCatalog(database)
    finally:
        database.close()


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
