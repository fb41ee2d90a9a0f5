"""`tagfleet adaptive`"""

from __future__ import annotations

import time
from pathlib import Path

import click

from config.settings import BadSetting, PoolSettings, Settings
from tagfleet.cli.common import with_settings

_SHOWN = 20


@click.group("adaptive")
def command() -> None:
    """The tagger that learns from people: its first tags, and what it knows."""


@command.command("fit")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="where the images lie")
@click.option("--pool", help="whose backbone and weights  [default: the first pool that learns]")
@with_settings("weights", "cache")
def fit_command(settings: Settings, source: Path, images: Path | None, pool: str | None) -> None:
    """Teach it a folder with a folder of photos for each tag, or anything else that `tagfleet data check` reads.

    What people taught it stays. Doing it twice teaches it once; a photo that lies elsewhere by then has its new tag.
    """
    from rich.console import Console
    from rich.progress import Progress

    from app_tier.models.request import ModelRequest
    from app_tier.taggers.adaptive import find_backbone, load
    from core import telemetry
    from core.wiring import Backend
    from training.data import reading
    from training.fit import adapting

    telemetry.configure("adaptive", level="warning", format=settings.log_format)
    dataset = reading.read(source, images)
    store = Backend(settings).store
    request = ModelRequest("adaptive", _pool(settings, pool), settings, store, download=lambda *_: None)
    backbone = find_backbone(request)
    if backbone.notice:
        click.echo(backbone.notice, err=True)
    tagger = load(backbone, request)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at photos", total=len(dataset.examples))
        fitted = adapting.fit(tagger, dataset, int(time.time()), lambda more: bar.advance(task, more))
    for problem in fitted.problems:
        click.echo(f"left out: {problem}", err=True)
    click.echo(f"learned {len(fitted.photos)} tags from {len(dataset.examples) - len(fitted.problems)} photos")


@command.command("tell-again")
@with_settings()
def tell_again_command(settings: Settings) -> None:
    """Tell it all that people ever decided once more: for a pool that is new, or has another backbone now.

    The collector does it, with its next sweep. What it has learned already changes nothing.
    """
    from web_tier.catalog.database import Database, catalog_url, migrate
    from web_tier.catalog.feedback import FeedbackCatalog

    if not settings.learning_pools:
        raise BadSetting('no pool learns: add one to the settings, [pools.adaptive] with tagger = "adaptive"')
    migrate(catalog_url(settings))
    database = Database(catalog_url(settings))
    try:
        count = FeedbackCatalog(database).mark_all_unpublished()
    finally:
        database.close()
    click.echo(f"what was decided about {count} images is told to {', '.join(settings.learning_pools)}")


@command.command("show")
@click.option("--all", "all_", is_flag=True, help=f"all tags  [default: the {_SHOWN} with the most images]")
@with_settings()
def show_command(settings: Settings, all_: bool) -> None:
    """Tags it knows, and on how many images people accepted and rejected each; by backbone."""
    from app_tier.adaptive.store import list_states
    from core.wiring import Backend

    found = list_states(Backend(settings).store)
    if not found:
        click.echo("nothing was learned yet: correct tags on the page, or `tagfleet adaptive fit DIR`", err=True)
    for backbone, state in found:
        tags = sorted(state.statistics.tags.values(), key=lambda tag: (-tag.accepted.n, tag.name))
        click.echo(f"{backbone}, version {state.version}: {len(tags)} tags from {len(state.images)} images")
        click.echo(f"{'accepted':>9} {'rejected':>9}  tag")
        for tag in tags if all_ else tags[:_SHOWN]:
            click.echo(f"{tag.accepted.n:9} {tag.rejected.n:9}  {tag.name}")
        if not all_ and tags[_SHOWN:]:
            click.echo(f"and {len(tags) - _SHOWN} more: --all shows them", err=True)


def _pool(settings: Settings, name: str | None) -> PoolSettings:
    """Raises BadSetting."""
    chosen = name or next(iter(settings.learning_pools), settings.default_pool)
    if chosen not in settings.pools:
        raise BadSetting(f"--pool: there is no pool {chosen!r}; there are {', '.join(settings.pools)}")
    pool = settings.pools[chosen]
    return pool if pool.learns else pool.model_copy(update={"weights": ""})
