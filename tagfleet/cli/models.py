"""`tagfleet models`"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import click

from config.settings import Settings
from core.storage import folders
from core.storage.models import MANIFEST_FILE, WEIGHTS_FILE, Manifest, Registry, read_manifest
from core.wiring import Backend
from tagfleet.cli import models_quantise
from tagfleet.cli.common import text_of, with_settings

_File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("models")
def command() -> None:
    """Models of this deployment: those in its registry, which every worker finds.

    A pool whose `tagger` is NAME serves the version that is the name's default, and goes over to another one within
    seconds; NAME@VERSION serves that one for ever.
    """


command.add_command(models_quantise.command)


@command.command("list")
@click.option("--check", is_flag=True, help="read the weights of each model and compare their hashes")
@with_settings()
def list_command(settings: Settings, check: bool) -> None:
    """Show all versions of all models; * is the default of its name. Exit code 1 if one is damaged."""
    store = Backend(settings).store
    registry = Registry(store)
    manifests, damaged = registry.list()
    captioners, broken = folders.every(store)
    damaged += broken
    if not (manifests or damaged or captioners):
        click.echo("no models in the registry: `tagfleet models add` puts one there", err=True)
    defaults = {manifest.name: registry.default(manifest.name) for manifest in manifests}
    for manifest in manifests:
        mark = "*" if defaults[manifest.name] == manifest.version else " "
        click.echo(f"{mark} {manifest.reference:<28}{_about(manifest)}")
    newest = ""
    for folder in captioners:
        click.echo(f"{'*' if folder.name != newest else ' '} {folder.reference:<28}folder of {len(folder.files)} files")
        newest = folder.name
    if check:
        damaged += [problem for manifest in manifests if (problem := registry.damage(manifest))]
        click.echo(f"{len(manifests)} checked, {len(damaged)} damaged")
    for problem in damaged:
        click.echo(f"tagfleet: {problem}", err=True)
    if damaged:
        raise SystemExit(1)


@command.command("show")
@click.argument("model")
@with_settings()
def show_command(settings: Settings, model: str) -> None:
    """Print the card of MODEL (NAME or NAME@VERSION), and what it was measured to do."""
    manifest = Registry(Backend(settings).store).find(model)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at))
    click.echo(f"{manifest.reference}  {_about(manifest)}\nnetwork  {manifest.architecture}\nadded    {made}")
    click.echo(f"sha256   {manifest.weights_sha256}")
    for name, text in (("licence", manifest.licence), ("trained", manifest.trained_on)):
        if text:
            click.echo(f"{name:<9}{text}")
    for name, value in manifest.metrics.items():
        click.echo(f"{name:<28}{value:.4g}")
    if manifest.card:
        click.echo(f"\n{manifest.card}")


@command.command("add")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--architecture", help="torchvision/resnet50 or timm/NAME, where NAME does not say it")
@click.option("--labels", "labels_file", type=_File, help="a file with one label a line, in the order of the outputs")
@click.option("--multilabel", is_flag=True, help="each label is there or not by itself; else one of all")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="of a multilabel model")
@click.option("--resize", type=click.IntRange(16, 2048), help="the shorter side is scaled to so many pixels")
@click.option("--crop", type=click.IntRange(16, 2048), help="of which the central square of this side is seen")
@click.option("--temperature", type=click.FloatRange(0.01, 100), default=1.0, show_default=True)
@click.option("--card", "card_file", type=_File, help="what people should know of it, in Markdown")
@click.option("--licence", default="", help="of the weights")
@click.option("--default/--no-default", default=True, show_default=True, help="NAME means this version from now on")
@with_settings()
def add_command(
    settings: Settings,
    name: str,
    source: Path,
    labels_file: Path | None,
    card_file: Path | None,
    default: bool,
    **said: object,
) -> None:
    """Put a model into the registry.

    SOURCE is a file of weights (safetensors, or torch's, of which nothing but tensors is read), or a folder that
    `tagfleet models export` made. Of resnet50, mobilenetv2 and efficientnet-lite0 all else is known.
    """
    from app_tier.model_tools import importing

    backend = Backend(settings)
    with tempfile.TemporaryDirectory() as scratch:
        if source.is_dir():
            manifest, weights = read_manifest(source / MANIFEST_FILE), source / WEIGHTS_FILE
            manifest = importing.rename(manifest, name)
        else:
            weights = importing.to_safetensors(source, Path(scratch))
            wishes = importing.ModelOptions(
                name,
                labels=tuple(_lines(labels_file)) if labels_file else None,
                card=text_of(card_file) if card_file else "",
                **said,  # type: ignore[arg-type]  # click has checked them
            )
            manifest = importing.describe(wishes, weights, time.time(), settings.cache)
        importing.add_model(manifest, weights, backend.store, settings.cache, default=default)
    click.echo(f"added {manifest.reference}: {_about(manifest)}")


@command.command("export")
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@with_settings()
def export_command(settings: Settings, model: str, folder: Path) -> None:
    """Write MODEL into FOLDER, from where another deployment may `add` it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.BadParameter("it is there already and not empty", param_hint="FOLDER")
    registry = Registry(Backend(settings).store)
    manifest = registry.find(model)
    kept = registry.fetch(manifest, settings.cache / "weights")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept, folder / WEIGHTS_FILE)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    click.echo(f"{manifest.reference} is in {folder}")


@command.command("default")
@click.argument("model")
@with_settings()
def default_command(settings: Settings, model: str) -> None:
    """Make MODEL (NAME@VERSION) what its name means. Running workers go over to it, and lose no photo."""
    manifest = Registry(Backend(settings).store).set_default(model)
    click.echo(f"{manifest.name} means {manifest.reference}")


@command.command("remove")
@click.argument("model")
@with_settings()
def remove_command(settings: Settings, model: str) -> None:
    """Delete MODEL (NAME@VERSION) from the registry. Workers that serve it go on until they end."""
    store = Backend(settings).store
    if not folders.remove(store, model):
        model = Registry(store).remove(model)
    click.echo(f"removed {model}")


def _about(manifest: Manifest) -> str:
    measured = "".join(f", {name} {value:.3g}" for name, value in list(manifest.metrics.items())[:2])
    return f"{manifest.family}, {len(manifest.labels)} labels, {manifest.weights_bytes / 1e6:.0f} MB{measured}"


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in text_of(file).splitlines() if line.strip()]
