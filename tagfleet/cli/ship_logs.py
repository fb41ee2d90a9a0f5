"""`tagfleet ship-logs`: send a machine's logs to CloudWatch."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click

UNITS = ("tagfleet-worker", "tagfleet-web", "tagfleet-collector", "tagfleet-controller", "tagfleet-ready")


@click.command("ship-logs", short_help="Send a machine's logs to CloudWatch; a unit of the image runs it.")
@click.option("--group", required=True, help="log group; '' for none")
@click.option("--stream", help="prefix of the streams' names  [default: this instance's id]")
@click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/var/lib/tagfleet/logs.cursor"),
    show_default=True,
    help="file that records what was sent",
)
@click.option(
    "--drain-s", type=click.FloatRange(0), default=20.0, show_default=True, help="seconds to send the rest at the end"
)
def command(group: str, stream: str | None, cursor: Path, drain_s: float) -> None:
    """Send the logs of this machine's units to CloudWatch Logs, including the last lines before the machine ends.

    This command reads no settings, so that a machine with unreadable settings can say so in its logs.
    """
    if not group:
        click.echo("no log group is set: no logs are sent")
        return
    from core.aws.clients import Clients
    from core.aws.logs import LogGroup
    from core.aws.metadata import Ec2Machine
    from core.logs.journal import Journal
    from core.logs.log_shipper import LogShipper

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = stream or Ec2Machine(os.environ).id
    # Short time-outs: with the usual ones a broken network would use up the time that the shutdown leaves.
    clients = Clients(threads=1, connect_s=3.0, read_s=10.0, attempts=2)
    shipper = LogShipper(
        Journal(UNITS), LogGroup(clients, group), name, cursor, lambda line: click.echo(line, err=True)
    )
    shipper.run(stop, drain_s=drain_s)
