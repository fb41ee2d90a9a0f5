"""`tagfleet prepare`: fetch weights and convert engines ahead of time."""

import sys
import time
from typing import TextIO, cast

import click

from app_tier.worker.prepare import prepare
from config.settings import Settings
from core import telemetry
from core.logs.log_stream import never_failing
from core.util.private import keep_private
from core.wiring import Backend
from tagfleet.cli.common import with_settings


@click.command("prepare", short_help="Fetch weights and convert engines ahead of time.")
@with_settings("weights", "cache")
def command(settings: Settings) -> None:
    """Fetch every pool's weights and convert its engine, so that workers start fast."""
    keep_private()
    telemetry.configure("prepare", level=settings.log_level, format=settings.log_format)
    sys.stdout = cast(TextIO, never_failing(sys.stdout))  # under `up`, it goes to a log
    backend = Backend(settings)
    failed = False
    for pool in settings.pools:
        status = prepare(pool, settings, backend, time.time, _progress)
        failed |= status.state == "failed"
        click.echo(f"{pool}: {status.state}" + (f", serves {status.serves}" if status.serves else ""))
        if status.notice:
            click.echo(f"  {status.notice}")
    sys.exit(1 if failed else 0)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r  downloading {done / 1e6:.0f} of {total / 1e6:.0f} MB", nl=done >= total > 0, err=True)
