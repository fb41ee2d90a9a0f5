"""`tagfleet web`: serve the page and the API."""

from __future__ import annotations

import os

import click

from config.settings import Settings
from core import telemetry
from core.util import parent_watch
from core.util.private import keep_private
from tagfleet.cli.common import with_settings


@click.command("web")
@with_settings("host", "port")
def command(settings: Settings) -> None:
    """Serve the page and the REST API."""
    from web_tier import serve

    keep_private()
    telemetry.configure("web", level=settings.log_level, format=settings.log_format)
    parent_watch.watch_parent(os.environ)
    serve.run(settings)
