"""`tagfleet aws`: create, inspect and delete a deployment on AWS."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from config import settings as config
from config.settings import BadSetting, Document, Settings
from core.errors import Misconfigured, TagfleetError
from core.storage import layout
from core.storage.ports import InstanceState
from core.wiring import Backend
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import terminal_width

if TYPE_CHECKING:
    from ami.aws.cloudformation import Stack, StackState


@click.group("aws", short_help="Create, inspect and delete a fleet on AWS.")
def command() -> None:
    """Create, inspect and delete a fleet on AWS. docs/aws.md explains every step."""


@command.command("up", short_help="Create or update a deployment.")
@with_settings("aws.region", "aws.deployment", "controller.max_workers", "controller.budget_per_hour")
@click.option("--image", help="image of the workers  [default: the current one]")
@click.option("--hosts", type=click.Choice(["none", "one", "two"]), help="hosts for web tier, collector and controller")
@click.option("--host-image", help="image of the hosts")
@click.option("--certificate", help="ARN of the certificate in ACM of this region; for two hosts")
@click.option("--domain", help="domain name of the two hosts")
@click.option("--clients", help="addresses that may reach the two hosts, e.g. 203.0.113.0/24  [default: all]")
@click.option("--email", help="address that receives alarms")
@click.option(
    "--entrance", type=click.Choice(["public", "internal"]), help="kind of load balancer in front of two hosts"
)
@click.option("--subnet", "subnets", multiple=True, help="for workers (repeat)  [default: those of the default VPC]")
@click.option("--host-subnet", "host_subnets", multiple=True, help="for hosts  [default: as --subnet]")
@click.option(
    "--entrance-subnet", "entrance_subnets", multiple=True, help="for the load balancer  [default: as --subnet]"
)
@click.option("--database-subnet", "database_subnets", multiple=True, help="for the database  [default: as --subnet]")
@click.option("--upload-days", type=click.IntRange(0), help="delete uploads after this many days; 0 keeps them")
@click.option("--source", "sources", multiple=True, help="another bucket to read images from (repeat); '' for none")
@click.option(
    "--source-key", "source_keys", multiple=True, help="ARN of the KMS key of those images, if `up` does not find it"
)
@click.option("--kms-key", help="ARN of a KMS key for the deployment's buckets; '' for S3's own keys")
@click.option("--replace", is_flag=True, help="drain workers of an older image without asking")
@click.option("--yes", is_flag=True, help="do not ask before making changes")
def up_command(
    settings: Settings, *, subnets: tuple[str, ...], sources: tuple[str, ...], yes: bool, replace: bool, **options: Any
) -> None:
    """Create the stack of a deployment, or update it. Shows the changes and asks before it makes them.

    The fleet's settings (pools, queues, controller) come from --config. The command writes them into the output
    bucket, where every machine reads them, and shows each change. Options that you leave out keep their value.
    """
    from core.aws.clients import Clients
    from tagfleet.deployment.stack_options import StackOptions
    from tagfleet.deployment.up import bring_up, replace_workers

    deployed = bring_up(
        Clients(settings.aws.region),
        settings,
        StackOptions(subnets=subnets, sources=sources, **options),
        _say,
        lambda: yes or click.confirm("make these changes?"),
    )
    if deployed is None:
        click.echo("nothing was changed")
        return
    question = "the workers' image is new; drain the running workers, so that new ones replace them?"
    if deployed.new_image and (replace or yes or click.confirm(question)):
        click.echo(f"{replace_workers(deployed.settings)} workers drain; the controller launches new ones as needed")
    for line in _next_steps(deployed.settings, deployed.outputs):
        click.echo(line)


@command.command("status", short_help="Show a deployment and what it costs now.")
@with_settings("aws.region", "aws.deployment")
@click.option("--drift/--no-drift", default=True, help="list resources that were changed by hand; takes up to a minute")
def status_command(settings: Settings, *, drift: bool) -> None:
    """Show the stack, its queues and workers, the controller's last decisions, and what it costs now."""
    from core.aws.clients import Clients
    from tagfleet.cli import status
    from tagfleet.deployment import down

    clients = Clients(settings.aws.region)
    stack, state = down.existing_stack(clients, settings)
    for line in _stack_lines(stack, state, clients.region, drift=drift):
        click.echo(line)
    if "OutputBucket" not in state.outputs:
        return
    backend = Backend(_shared(state.outputs["OutputBucket"]))
    for line in (*status.fleet_lines(backend, terminal_width()), *_spending_lines(backend)):
        click.echo(line)


def _stack_lines(stack: Stack, state: StackState, region: str, *, drift: bool) -> Iterator[str]:
    yield f"stack {stack.name} in {region}: {state.status}{f', {state.reason}' if state.reason else ''}"
    if domain := state.outputs.get("Domain"):
        yield f"https://{domain}"
    if not drift:
        return
    try:
        changed = stack.drift()
    except TagfleetError as error:
        yield f"drift: {error}"
        return
    if changed:
        yield f"drift: {', '.join(changed)} changed by hand; see the stack's drift in CloudFormation"
    else:
        yield "drift: none, everything matches the template"


def _spending_lines(backend: Backend) -> Iterator[str]:
    """Yield what the instances of the deployment cost now, after an empty line."""
    paid = [one for one in backend.fleet([]).instances() if one.state is not InstanceState.GONE]
    yield ""
    budget = backend.settings.controller.budget_per_hour
    spend = sum(one.price for one in paid)
    of = f" of at most ${budget:.2f}" if budget else ""
    yield f"{len(paid)} {'instance' if len(paid) == 1 else 'instances'}, ${spend:.2f} an hour{of}"


@command.command("down", short_help="End the workers and delete the stack.")
@with_settings("aws.region", "aws.deployment")
@click.option(
    "--drain-s", type=click.FloatRange(0), default=180.0, show_default=True, help="seconds that workers get to finish"
)
@click.option("--delete-data", is_flag=True, help="delete the buckets too, with every image and result")
@click.option("--yes", is_flag=True, help="do not ask; --delete-data still asks")
def down_command(settings: Settings, *, drain_s: float, delete_data: bool, yes: bool) -> None:
    """End the workers, delete the stack, and say what remains. Images and results stay, unless --delete-data."""
    from core.aws.clients import Clients
    from tagfleet.deployment import down

    clients = Clients(settings.aws.region)
    stack, state = down.existing_stack(clients, settings)
    shared = _shared_if_there(state.outputs)
    if shared and (left := down.waiting(shared)):
        click.echo(f"{left} messages are still waiting; those images would not be tagged")
    if delete_data:
        given = click.prompt(f"this deletes every image and result of {stack.name}; to continue, type its name")
        if given != stack.name:
            raise Misconfigured(f"{given!r} is not the deployment's name; nothing was deleted")
    elif not yes and not click.confirm(_question(stack.name, state.outputs)):
        click.echo("nothing was deleted")
        return
    down.take_down(clients, shared or settings, _say, drain_s=drain_s, delete_data=delete_data)


def _question(name: str, outputs: Mapping[str, str]) -> str:
    """Return the question to ask before the stack is deleted."""
    if "CatalogHost" in outputs:
        return f"delete stack {name} and the catalogue's database? A snapshot of it, images and results stay"
    return f"delete stack {name}? Images and results stay"


def _shared(bucket: str) -> Settings:
    """Return the settings that all machines of the deployment read."""
    from core.aws.settings import read

    uri = _uri(bucket)
    return config.load({}, file=Document(uri, read(uri)))


def _shared_if_there(outputs: Mapping[str, str]) -> Settings | None:
    """Return the shared settings, or None if they are missing or unreadable: the stack can still be deleted."""
    if "OutputBucket" not in outputs:
        return None
    try:
        return _shared(outputs["OutputBucket"])
    except BadSetting as error:
        _say(f"warning: {error}; using the settings of this machine instead")
        return None


def _uri(bucket: str) -> str:
    return f"s3://{bucket}/{layout.SETTINGS}"


def _next_steps(settings: Settings, outputs: Mapping[str, str]) -> list[str]:
    uri = _uri(settings.aws.output_bucket)
    drop = f"files put into s3://{settings.aws.input_bucket}/{layout.DROPS} are tagged too"
    if "Domain" in outputs:
        return [
            f"Point {outputs['Domain']} at {outputs['Entrance']} (a CNAME, or an alias in Route 53), and create a key",
            'on a host: docs/aws.md, "The first key". Then open https://' + outputs["Domain"],
            drop,
        ]
    if "HostFleet" in outputs:
        return ['Open the page through a tunnel: docs/aws.md, "One host".', drop]
    return [f"Run the fleet from this machine:  TAGFLEET_CONFIG={uri} tagfleet up", drop]


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}" if "\n" not in line else line)
