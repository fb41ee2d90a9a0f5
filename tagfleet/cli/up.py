"""`tagfleet up`"""

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
    """Run everything on this machine: the page and the API, and workers that come and go with the work.

    Ctrl-C (or SIGTERM) stops it all; a new start finds every batch, image and result again.
    """
    from tagfleet.supervisor import supervise
    from web_tier.http import network_policy

    keep_private()
    network_policy.check(settings)
    supervise(settings, _say, network_policy.url_of)


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that was closed must not end the deployment in disorder
        click.echo(f"{time.strftime('%H:%M:%S')}  {line}")
