"""`tagfleet signal-ready`: signal to CloudFormation whether this host is ready."""

from __future__ import annotations

import os
import sys

import click

_HOSTS = "HostFleet"
"""Logical name of the hosts in the template."""


@click.command("signal-ready", short_help="Signal CloudFormation that this host is ready; a unit of the image runs it.")
@click.option("--stack", required=True, help="stack of this host; '' for none")
@click.option("--targets", default="", help="ARN of the load balancer's target group, if there is one")
@click.option(
    "--port", type=click.IntRange(1), default=8000, show_default=True, envvar="TAGFLEET_PORT", help="web tier's port"
)
@click.option(
    "--deadline-s", type=click.FloatRange(0), default=780.0, show_default=True, help="seconds to become ready in"
)
def command(stack: str, targets: str, port: int, deadline_s: float) -> None:
    """Wait until this host is ready or the deadline passes, and signal the result to the stack.

    The stack replaces hosts one by one, and waits for the signal of each.
    """
    if not stack:
        click.echo("no stack is set: nothing waits for this host")
        return
    from ami.aws.hosts import signal_resource, target_health
    from core.aws.clients import Clients
    from core.aws.metadata import Ec2Machine
    from tagfleet.deployment.readiness import Check, answers, gets_requests, units_run, wait_until_ready

    clients, instance = Clients(threads=1), Ec2Machine(os.environ).id
    checks: list[Check] = [units_run, lambda: answers(f"http://127.0.0.1:{port}/healthz")]
    if targets:
        checks.append(lambda: gets_requests(lambda: target_health(clients, targets, instance)))
    wrong = wait_until_ready(checks, deadline_s)
    waited = signal_resource(clients, stack, _HOSTS, instance, success=not wrong)
    click.echo(f"{wrong or 'this host is ready'}; {'signalled' if waited else 'the stack awaits no signal'}")
    sys.exit(1 if wrong and waited else 0)
