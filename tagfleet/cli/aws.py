"""`tagfleet aws`"""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from config import settings as config
from config.settings import BadSetting, Document, Settings
from core.errors import Misconfigured
from core.storage import layout
from core.wiring import Backend
from tagfleet.cli.common import with_settings


@click.group("aws", short_help="A fleet on AWS: up, status, down.")
def command() -> None:
    """Bring a fleet up on AWS, see how it is, take it down. docs/aws.md tells the whole way."""


@command.command("up", short_help="Create or update a deployment.")
@with_settings("aws.region", "aws.deployment", "controller.max_workers", "controller.budget_per_hour")
@click.option("--image", help="image of the workers  [default: the present one]")
@click.option("--hosts", type=click.Choice(["none", "one", "two"]), help="machines for web tier, collector, controller")
@click.option("--host-image", help="image of those hosts")
@click.option("--certificate", help="ARN in ACM of this region; with two hosts")
@click.option("--domain", help="name by which people reach two hosts")
@click.option("--clients", help="addresses that may reach two hosts, 203.0.113.0/24  [default: all]")
@click.option("--email", help="whom alarms are sent to")
@click.option("--entrance", type=click.Choice(["public", "internal"]), help="addresses of the two hosts' load balancer")
@click.option("--subnet", "subnets", multiple=True, help="where workers run  [default: those of the default VPC]")
@click.option("--host-subnet", "host_subnets", multiple=True, help="where hosts run  [default: the workers']")
@click.option(
    "--entrance-subnet", "entrance_subnets", multiple=True, help="of the load balancer  [default: as --subnet]"
)
@click.option("--database-subnet", "database_subnets", multiple=True, help="of the database  [default: as --subnet]")
@click.option("--upload-days", type=click.IntRange(0), help="delete uploads after so many days; 0 keeps them")
@click.option("--source", "sources", multiple=True, help="bucket of others to read images from; '' for none")
@click.option(
    "--source-key", "source_keys", multiple=True, help="ARN of a KMS key of those images, where up finds none"
)
@click.option("--kms-key", help="ARN of a KMS key for the deployment's buckets; '' for S3's own keys")
@click.option("--replace", is_flag=True, help="have workers of an older image drain without asking")
@click.option("--yes", is_flag=True, help="do not ask before anything is changed")
def up_command(
    settings: Settings, *, subnets: tuple[str, ...], sources: tuple[str, ...], yes: bool, replace: bool, **wishes: str
) -> None:
    """Create the stack of a deployment, or bring it to what is wished; its changes are shown first.

    Settings of the fleet (pools, queues, controller) come from --config and are written anew into the output bucket,
    where every machine reads them; those that change are shown too. Other options that are not given stay as they are.
    """
    from core.aws.clients import Clients
    from tagfleet.deployment.up import bring_up, replace_workers
    from tagfleet.deployment.wishes import Wishes

    standing = bring_up(
        Clients(settings.aws.region),
        settings,
        Wishes(subnets=subnets, sources=sources, **wishes),  # type: ignore[arg-type]  # click has made them of their types
        _say,
        lambda: yes or click.confirm("make these changes?"),
    )
    if standing is None:
        click.echo("nothing was changed")
        return
    question = "the image is a new one; have the workers that run drain, so that new ones take their place?"
    if standing.new_image and (replace or yes or click.confirm(question)):
        click.echo(f"{replace_workers(standing.settings)} workers drain; the controller launches others as needed")
    for line in _next_steps(standing.settings, standing.outputs):
        click.echo(line)


@command.command("status")
@with_settings("aws.region", "aws.deployment")
@click.option("--drift/--no-drift", default=True, help="look whether anything was changed by hand, up to a minute")
def status_command(settings: Settings, *, drift: bool) -> None:
    """Show the stack, its queues, its workers, the controller's last decisions and what it costs now."""
    from core.aws.clients import Clients
    from tagfleet.cli import status
    from tagfleet.deployment import down, look

    clients = Clients(settings.aws.region)
    stack, state = down.found(clients, settings)
    for line in look.at_stack(clients, stack, state, drift=drift):
        click.echo(line)
    if "OutputBucket" not in state.outputs:
        return
    backend = Backend(_shared(state.outputs["OutputBucket"]))
    for line in (*status.of_fleet(backend), *look.at_spend(backend)):
        click.echo(line)


@command.command("down", short_help="End the workers and delete the stack.")
@with_settings("aws.region", "aws.deployment")
@click.option(
    "--drain-s", type=click.FloatRange(0), default=180.0, show_default=True, help="time for workers to finish"
)
@click.option("--delete-data", is_flag=True, help="delete the buckets too, with every image and result")
@click.option("--yes", is_flag=True, help="do not ask; --delete-data asks all the same")
def down_command(settings: Settings, *, drain_s: float, delete_data: bool, yes: bool) -> None:
    """End the workers, delete the stack, and say what remains. Images and results stay, unless --delete-data."""
    from core.aws.clients import Clients
    from tagfleet.deployment import down

    clients = Clients(settings.aws.region)
    stack, state = down.found(clients, settings)
    shared = _shared_if_there(state.outputs)
    if shared and (left := down.waiting(shared)):
        click.echo(f"{left} messages still wait: those images would not be tagged")
    if delete_data:
        given = click.prompt(f"this deletes every image and result of {stack.name}; to go on, type its name")
        if given != stack.name:
            raise Misconfigured(f"{given!r} is not the deployment's name; nothing was deleted")
    elif not yes and not click.confirm(_question(stack.name, state.outputs)):
        click.echo("nothing was deleted")
        return
    down.take_down(clients, shared or settings, _say, drain_s=drain_s, delete_data=delete_data)


def _question(name: str, outputs: Mapping[str, str]) -> str:
    """What is asked before the protection from deletion is lifted."""
    if "CatalogHost" in outputs:
        return f"delete stack {name} and the catalogue's database, of which a snapshot stays? Images and results stay"
    return f"delete stack {name}? Images and results stay"


def _shared(bucket: str) -> Settings:
    """The settings that every machine of the deployment reads."""
    from core.aws.settings import read

    uri = _uri(bucket)
    return config.load({}, file=Document(uri, read(uri)))


def _shared_if_there(outputs: Mapping[str, str]) -> Settings | None:
    """None where they are lost, or were never written: a stack can be taken down all the same."""
    if "OutputBucket" not in outputs:
        return None
    try:
        return _shared(outputs["OutputBucket"])
    except BadSetting as error:
        _say(f"warning: {error}; going on with the settings that are known here")
        return None


def _uri(bucket: str) -> str:
    return f"s3://{bucket}/{layout.SETTINGS}"


def _next_steps(settings: Settings, outputs: Mapping[str, str]) -> list[str]:
    uri = _uri(settings.aws.output_bucket)
    drop = f"files that are put into s3://{settings.aws.input_bucket}/{layout.DROPS} are tagged too"
    if "Domain" in outputs:
        return [
            f"Point {outputs['Domain']} at {outputs['Entrance']} (a CNAME, or an alias in Route 53), and make a key on",
            'a host: docs/aws.md, "The first key". Then open https://' + outputs["Domain"],
            drop,
        ]
    if "HostFleet" in outputs:
        return ['Open the page through a tunnel: docs/aws.md, "One host".', drop]
    return [f"Drive the fleet from this machine:  TAGFLEET_CONFIG={uri} tagfleet up", drop]


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}" if "\n" not in line else line)
