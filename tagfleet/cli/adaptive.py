"""`tagfleet adaptive`: teach the adaptive tagger, and show what it has learned."""

from __future__ import annotations

import time
from pathlib import Path

import click

from config.settings import BadSetting, PoolSettings, Settings
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import Column, echo_table

_SHOWN = 20


@click.group("adaptive")
def command() -> None:
    """Teach the adaptive tagger, and show what it has learned."""


@command.command("fit")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="the folder of the images"
)
@click.option("--pool", help="the pool whose backbone and weights are used  [default: the first pool that learns]")
@with_settings("weights", "cache")
def fit_command(settings: Settings, source: Path, images: Path | None, pool: str | None) -> None:
    """Teach the adaptive tagger the photos in SOURCE.

    SOURCE is a folder with one folder of photos per tag, or anything else that `tagfleet data check` reads. People's
    feedback stays. Teaching the same photos twice changes nothing; a photo that moved gets its new tag.
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
        task = bar.add_task("reading photos", total=len(dataset.examples))
        fitted = adapting.fit(tagger, dataset, int(time.time()), lambda more: bar.advance(task, more))
    for problem in fitted.problems:
        click.echo(f"left out: {problem}", err=True)
    click.echo(f"learned {len(fitted.photos)} tags from {len(dataset.examples) - len(fitted.problems)} photos")


@command.command("tell-again")
@with_settings()
def tell_again_command(settings: Settings) -> None:
    """Send all feedback again, for a new pool or a new backbone.

    The collector sends people's feedback with its next sweep. Feedback that was learned before changes nothing.
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
    click.echo(f"feedback on {count} images will be sent to {', '.join(settings.learning_pools)}")


@command.command("show")
@click.option("--all", "all_", is_flag=True, help=f"all tags  [default: the {_SHOWN} with the most images]")
@with_settings()
def show_command(settings: Settings, all_: bool) -> None:
    """Show the learned tags of each backbone.

    Each tag comes with the number of images on which it was accepted, and on which it was rejected.
    """
    from app_tier.adaptive.store import list_states
    from core.wiring import Backend

    states = list_states(Backend(settings).store)
    if not states:
        click.echo("nothing is learned yet: correct tags on the page, or run `tagfleet adaptive fit DIR`", err=True)
    for backbone, state in states:
        tags = sorted(state.statistics.tags.values(), key=lambda tag: (-tag.accepted.n, tag.name))
        click.echo(f"{backbone}, version {state.version}: {len(tags)} tags from {len(state.images)} images")
        rows = [(tag.accepted.n, tag.rejected.n, tag.name) for tag in (tags if all_ else tags[:_SHOWN])]
        echo_table([Column("accepted", right=True), Column("rejected", right=True), "tag"], rows)
        if not all_ and tags[_SHOWN:]:
            click.echo(f"and {len(tags) - _SHOWN} more: --all shows them", err=True)


def _pool(settings: Settings, name: str | None) -> PoolSettings:
    """Return the pool whose backbone is used. Raises BadSetting."""
    chosen = name or next(iter(settings.learning_pools), settings.default_pool)
    if chosen not in settings.pools:
        raise BadSetting(f"--pool: there is no pool {chosen!r}; there are {', '.join(settings.pools)}")
    pool = settings.pools[chosen]
    return pool if pool.learns else pool.model_copy(update={"weights": ""})
