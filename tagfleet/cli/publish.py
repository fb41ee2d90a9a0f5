"""`tagfleet publish RUN`: put a trained tagger into the registry."""

from __future__ import annotations

import time
from pathlib import Path

import click

from config.settings import Settings
from core.storage.models import Registry
from core.wiring import Backend
from tagfleet.cli.common import text_of, with_settings

_File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("publish", short_help="Put a trained tagger into the registry.")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", required=True, help="name for pools and batches: lower-case letters, digits, -")
@click.option("--default/--no-default", default=True, show_default=True, help="make this version the default of NAME")
@click.option("--card", type=_File, help="Markdown that begins the model's card, before the measurements")
@click.option("--licence", default="", help="licence of the weights; the weights you started from may set it")
@with_settings()
def command(settings: Settings, run: Path, name: str, card: Path | None, licence: str, *, default: bool) -> None:
    """Put an evaluated training run into the registry as NAME@VERSION.

    The entry contains weights, labels, thresholds, temperature, figures, and a card that says what it was trained on
    and how good it is. Pools that serve NAME switch to it without losing a photo.
    """
    from app_tier.model_tools import importing
    from training.publish import publishing

    about = text_of(card) if card else ""
    manifest = publishing.build_manifest(run, name, time.time(), licence=licence, about=about)
    store = Backend(settings).store
    importing.add_model(manifest, publishing.find_weights(run), store, settings.cache, default=default)
    registry = Registry(store)
    shown = ", ".join(f"{title} {value:.3f}" for title, value in manifest.metrics.items())
    click.echo(f"published {manifest.reference}: {len(manifest.labels)} labels, {shown}")
    if registry.default(name) != manifest.version:
        click.echo(
            f"{name} still means {name}@{registry.default(name)}: `tagfleet models default {manifest.reference}`"
        )
