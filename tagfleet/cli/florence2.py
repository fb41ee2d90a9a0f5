"""`tagfleet florence2`: fine-tune Florence-2, and put a model into the store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import PoolSettings, Settings
from tagfleet.cli.common import with_settings

if TYPE_CHECKING:
    from training.florence2.examples import CaptionTask

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)
_NAME = "florence2"
_CAPTIONS = ("caption", "detailed_caption")


@click.group("florence2", short_help="Fine-tune Florence-2, and put a model into the store.")
def command() -> None:
    """Fine-tune Florence-2 on your own boxes or captions, and put it where every worker finds it."""


@command.command("tune")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--run",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="folder for everything that the training produces",
)
@click.option("--start-from", type=_Folder, help="folder of the weights to start from  [default: those of the tagger]")
@click.option("--images", type=_Folder, help="folder of the images  [default: beside SOURCE]")
@click.option(
    "--task", default="caption", show_default=True, type=click.Choice(_CAPTIONS), help="the kind of captions in a csv"
)
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(1), help="passes over all images")
@click.option("--lr", default=1e-6, show_default=True, type=click.FloatRange(0, min_open=True), help="learning rate")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1), help="images per step")
@click.option(
    "--freeze-vision/--train-vision",
    default=True,
    show_default=True,
    help="freeze the vision tower, or train it too",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@with_settings("weights", "cache")
def tune_command(
    settings: Settings,
    source: Path,
    run: Path,
    start_from: Path | None,
    images: Path | None,
    task: CaptionTask,
    epochs: int,
    lr: float,
    batch: int,
    freeze_vision: bool,
    seed: int,
) -> None:
    """Fine-tune Florence-2 on boxes or captions.

    SOURCE has boxes as COCO's JSON, or captions as a csv with the columns file and caption. After an interruption, the
    same command continues from the last complete epoch, and ends with the same weights.
    """
    weights = start_from or _find_weights(settings)
    from training.florence2.examples import read_examples
    from training.florence2.fine_tuning import Options, tune

    examples = read_examples(source, images, task)
    click.echo(f"{len(examples)} images to learn from", err=True)
    options = Options(epochs=epochs, lr=lr, batch=batch, freeze_vision=freeze_vision, seed=seed)
    folder = tune(examples, weights, run, options, lambda line: click.echo(line, err=True))
    click.echo(
        f'{folder} is ready. To serve it, set weights = "{folder.absolute()}", or run tagfleet florence2 add {folder}'
    )


@command.command("add")
@click.argument("folder", type=_Folder)
@with_settings()
def add_command(settings: Settings, folder: Path) -> None:
    """Check that the model in FOLDER loads, and put it into the store. Pools with the tagger florence2 switch to it."""
    from app_tier.engines.florence2 import Florence2Engine
    from core.storage import folders
    from core.wiring import Backend

    folders.hashes(folder)
    Florence2Engine(folder)
    manifest = folders.add(Backend(settings).store, _NAME, folder, time.time())
    click.echo(f"{_NAME}@{manifest.version}")


def _find_weights(settings: Settings) -> Path:
    from app_tier.models import model_folders
    from app_tier.models.request import ModelRequest
    from app_tier.taggers.florence2 import REPOSITORY
    from core.wiring import Backend

    pool = next((pool for pool in settings.pools.values() if pool.tagger == _NAME), PoolSettings(tagger=_NAME))
    request = ModelRequest(_NAME, pool, settings, Backend(settings).store, lambda done, total: None)
    return model_folders.find(request, _NAME, REPOSITORY).fetch()
