"""`tagfleet ami`: bake, list and prune machine images."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import click

from ami.aws.buckets import temporary_bucket
from ami.aws.cloudformation import Stack
from ami.aws.images import BakedImage, Ec2Images, superseded
from ami.bake import Bake, Recipe
from app_tier.models.network_lookup import is_network
from config import settings as config
from config.settings import PoolSettings, Settings
from config.taggers import family_of
from core.aws.clients import Clients
from core.aws.store import S3Store
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import Column, echo_table

_BASE = "resolve:ssm:/aws/service/debian/release/12/latest/amd64"
_POOL_VARIABLE = re.compile(r"TAGFLEET_POOLS__.+(?<!__WEIGHTS)")
"""Settings of pools, without `weights`: a path on this machine means nothing on the builder."""
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("ami", short_help="Bake, list and prune machine images for EC2.")
def command() -> None:
    """Bake, list and prune the machine images of workers and hosts on EC2."""


@command.command("bake")
@with_settings("aws.region", "aws.deployment")
@click.option("--package", type=_file, required=True, help="a wheel of Tagfleet: pip wheel --no-deps -w dist .")
@click.option("--role", type=click.Choice(["worker", "host"]), default="worker", show_default=True)
@click.option(
    "--base", default=_BASE, show_default=True, help="the image to start from: its id, or resolve:ssm:PARAMETER"
)
@click.option("--type", "type_", default="c7i.xlarge", show_default=True, help="the builder's type")
@click.option("--weights", type=_file, multiple=True, help="NAME.safetensors to put into the image (repeat)")
@click.option("--gpu", is_flag=True, help="for workers with a GPU: keep torch; the base image must contain the driver")
@click.option("--subnet", default="", help="subnet of the builder  [default: one of the default VPC]")
@click.option(
    "--disk-gb", type=click.IntRange(1, 16_384), default=40, show_default=True, help="size of the image's disk"
)
def bake(
    settings: Settings,
    package: Path,
    role: str,
    base: str,
    type_: str,
    weights: tuple[Path, ...],
    gpu: bool,
    subnet: str,
    disk_gb: int,
) -> None:
    """Bake an image of a worker or a host. Takes about ten minutes.

    The command launches a builder, installs the worker or host on it, and makes an image of it.
    """
    for line in left_out_pools(settings) if role == "worker" else ():
        click.echo(line)
    recipe = Recipe(
        name=f"{settings.aws.deployment}-{role}-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        base=base,
        type=type_,
        role=role,
        package=package,
        version=importlib.metadata.version("tagfleet"),
        weights=weights,
        gpu=gpu,
        environ=builder_environment(settings),
        subnet=subnet,
        disk_gb=disk_gb,
    )
    clients = Clients(settings.aws.region)
    with _bucket(settings, clients) as bucket:
        images = Ec2Images(clients, settings.aws.deployment, bucket)
        image = Bake(recipe, images, S3Store(clients, input_bucket=bucket, output_bucket=bucket), click.echo).run()
    click.echo(image.id)


@command.command("list")
@with_settings("aws.region", "aws.deployment")
def list_(settings: Settings) -> None:
    """List the images of this deployment, newest first."""
    images = Ec2Images(Clients(settings.aws.region), settings.aws.deployment, settings.aws.output_bucket)
    _echo_images(images.images())


@command.command("prune")
@with_settings("aws.region", "aws.deployment")
@click.option(
    "--keep", type=click.IntRange(1), default=2, show_default=True, help="keep this many of each role, the newest"
)
@click.option("--yes", is_flag=True, help="do not ask")
def prune(settings: Settings, *, keep: int, yes: bool) -> None:
    """Remove older images of this deployment with their snapshots. Images that its stack uses stay."""
    clients = Clients(settings.aws.region)
    images = Ec2Images(clients, settings.aws.deployment, settings.aws.output_bucket)
    state = Stack(clients, settings.aws.deployment).state()
    used = [state.parameters.get(which, "") for which in ("Image", "HostImage")] if state else []
    old = superseded(images.images(), keep, used)
    _echo_images(old)
    if not old:
        click.echo("there is nothing to remove")
    elif yes or click.confirm("remove these, with their snapshots?"):
        for image in old:
            images.remove(image.name)


def _echo_images(images: Iterable[BakedImage]) -> None:
    rows = [(image.id, image.made_at[:16].replace("T", " "), image.state, image.name) for image in images]
    echo_table([Column()] * 4, rows)


def _bucket(settings: Settings, clients: Clients) -> AbstractContextManager[str]:
    """Return the deployment's bucket; before a deployment exists, a temporary one for the bake."""
    named = settings.aws.output_bucket
    return nullcontext(named) if named else temporary_bucket(clients, f"{settings.aws.deployment}-bake")


def builder_environment(settings: Settings) -> dict[str, str]:
    """Return the TAGFLEET_* variables of the pools whose engines the builder can prepare."""
    pools = {name: pool for name, pool in settings.pools.items() if not _why_left_out(pool)}
    variables = config.as_environment(settings.model_copy(update={"pools": pools}))
    return {name: value for name, value in variables.items() if _POOL_VARIABLE.fullmatch(name)}


def left_out_pools(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each pool whose engine the builder cannot prepare."""
    for name, pool in settings.pools.items():
        if why := _why_left_out(pool):
            yield f"pool {name} is left out: {why}"


def _why_left_out(pool: PoolSettings) -> str:
    """Return why the builder cannot prepare this pool, or an empty string. The builder has no right to read a store."""
    family = family_of(pool.tagger)
    if family == "florence2":
        return "images come without transformers, so its workers would not start (docs/florence2.md)"
    if family == "model" and not is_network(pool.tagger):
        return f"its workers fetch {pool.tagger} from the registry when they start"
    return ""
