"""`tagfleet models`: list, add, export and remove models in a deployment's registry."""

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
from tagfleet.text_tables import Column, echo_table

_File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("models")
def command() -> None:
    """Manage the models in this deployment's registry.

    Every worker can load them from there. A pool whose `tagger` is NAME serves the default version of that name, and
    switches to a new default within seconds. With NAME@VERSION it always serves that version.
    """


command.add_command(models_quantise.command)


@command.command("list")
@click.option("--check", is_flag=True, help="read each model's weights and check their hashes")
@with_settings()
def list_command(settings: Settings, check: bool) -> None:
    """List all versions of all models. * marks the default of a name. The exit code is 1 if a model is damaged."""
    store = Backend(settings).store
    registry = Registry(store)
    manifests, damaged = registry.list()
    captioners, broken = folders.every(store)
    damaged += broken
    if not (manifests or damaged or captioners):
        click.echo("no models in the registry yet: add one with `tagfleet models add`", err=True)
    defaults = {manifest.name: registry.default(manifest.name) for manifest in manifests}
    rows = []
    for manifest in manifests:
        mark = "*" if defaults[manifest.name] == manifest.version else " "
        rows.append((f"{mark} {manifest.reference}", _summarise(manifest)))
    newest = ""
    for folder in captioners:
        mark = "*" if folder.name != newest else " "
        rows.append((f"{mark} {folder.reference}", f"folder of {len(folder.files)} files"))
        newest = folder.name
    echo_table([Column(), Column()], rows)
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
    """Print the card and the metrics of MODEL (NAME or NAME@VERSION)."""
    manifest = Registry(Backend(settings).store).find(model)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at))
    click.echo(f"{manifest.reference}  {_summarise(manifest)}")
    rows = [("network", manifest.architecture), ("added", made), ("sha256", manifest.weights_sha256)]
    rows += [("licence", manifest.licence)] if manifest.licence else []
    rows += [("trained", manifest.trained_on)] if manifest.trained_on else []
    echo_table([Column(), Column()], rows)
    echo_table([Column(), Column()], [(name, f"{value:.4g}") for name, value in manifest.metrics.items()])
    if manifest.card:
        click.echo(f"\n{manifest.card}")


@command.command("add")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--architecture", help="torchvision/resnet50 or timm/NAME, if NAME is not a known network")
@click.option("--labels", "labels_file", type=_File, help="a file with one label per line, in the order of the outputs")
@click.option("--multilabel", is_flag=True, help="an image may have several labels; default: exactly one")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="minimum confidence of a tag, for --multilabel",
)
@click.option("--resize", type=click.IntRange(16, 2048), help="pixels to which the shorter side is scaled")
@click.option("--crop", type=click.IntRange(16, 2048), help="side of the central square that is used, in pixels")
@click.option(
    "--temperature", type=click.FloatRange(0.01, 100), default=1.0, show_default=True, help="divisor of the logits"
)
@click.option("--card", "card_file", type=_File, help="a description for people, in Markdown")
@click.option("--licence", default="", help="licence of the weights")
@click.option("--default/--no-default", default=True, show_default=True, help="make this version the default of NAME")
@with_settings()
def add_command(
    settings: Settings,
    name: str,
    source: Path,
    labels_file: Path | None,
    card_file: Path | None,
    default: bool,
    **others: object,
) -> None:
    """Add a model to the registry.

    SOURCE is a file of weights (safetensors, or torch's: only its tensors are read), or a folder made by `tagfleet
    models export`. For resnet50, mobilenetv2 and efficientnet-lite0 nothing else is needed.
    """
    from app_tier.model_tools import importing

    backend = Backend(settings)
    with tempfile.TemporaryDirectory() as scratch:
        if source.is_dir():
            manifest, weights = read_manifest(source / MANIFEST_FILE), source / WEIGHTS_FILE
            manifest = importing.rename(manifest, name)
        else:
            weights = importing.to_safetensors(source, Path(scratch))
            options = importing.ModelOptions(
                name,
                labels=tuple(_read_lines(labels_file)) if labels_file else None,
                card=text_of(card_file) if card_file else "",
                **others,  # type: ignore[arg-type]  # click has checked them
            )
            manifest = importing.describe(options, weights, time.time(), settings.cache)
        importing.add_model(manifest, weights, backend.store, settings.cache, default=default)
    click.echo(f"added {manifest.reference}: {_summarise(manifest)}")


@command.command("export")
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
@with_settings()
def export_command(settings: Settings, model: str, folder: Path) -> None:
    """Write MODEL into FOLDER. Another deployment can `add` it from there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.BadParameter("it exists and is not empty", param_hint="FOLDER")
    registry = Registry(Backend(settings).store)
    manifest = registry.find(model)
    weights = registry.fetch(manifest, settings.cache / "weights")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS_FILE)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    click.echo(f"{manifest.reference} is in {folder}")


@command.command("default")
@click.argument("model")
@with_settings()
def default_command(settings: Settings, model: str) -> None:
    """Make MODEL (NAME@VERSION) the default of its name. Running workers switch to it without losing a photo."""
    manifest = Registry(Backend(settings).store).set_default(model)
    click.echo(f"{manifest.reference} is now the default of {manifest.name}")


@command.command("remove")
@click.argument("model")
@with_settings()
def remove_command(settings: Settings, model: str) -> None:
    """Delete MODEL (NAME@VERSION) from the registry. Workers that serve it keep serving it until they end."""
    store = Backend(settings).store
    if not folders.remove(store, model):
        model = Registry(store).remove(model)
    click.echo(f"removed {model}")


def _summarise(manifest: Manifest) -> str:
    measured = "".join(f", {name} {value:.3g}" for name, value in list(manifest.metrics.items())[:2])
    return f"{manifest.family}, {len(manifest.labels)} labels, {manifest.weights_bytes / 1e6:.0f} MB{measured}"


def _read_lines(file: Path) -> list[str]:
    return [line.strip() for line in text_of(file).splitlines() if line.strip()]
