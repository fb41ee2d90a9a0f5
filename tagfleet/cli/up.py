"""`tagfleet up`: run everything on this machine."""

from __future__ import annotations

import time
from contextlib import suppress

import click

from config.settings import Settings
from core.util.private import keep_private
from tagfleet.cli.common import with_settings


@click.command("up", short_help="Run everything on this machine.")
@with_settings("host", "port", "weights", "controller.max_workers", "log_level")
def command(settings: Settings) -> None:
    """Run everything on this machine: the page, the API, and workers that start and stop with the work.

    Ctrl-C (or SIGTERM) stops everything. The next start continues with all batches, images and results.
    """
    from tagfleet.supervisor import supervise
    from web_tier.http import network_policy

    keep_private()
    network_policy.check(settings)
    supervise(settings, _say, network_policy.url_of)


def _say(line: str) -> None:
    with suppress(OSError):  # a closed terminal must not make the supervisor fail
        click.echo(f"{time.strftime('%H:%M:%S')}  {line}")
