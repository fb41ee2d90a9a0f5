"""`tagfleet florence2`"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import PoolSettings, Settings
from tagfleet.cli.common import with_settings

if TYPE_CHECKING:
    from training.florence2.lessons import CaptionTask

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)
_NAME = "florence2"
_CAPTIONS = ("caption", "detailed_caption")


@click.group("florence2", short_help="Fine-tune Florence-2, and put one into the store.")
def command() -> None:
    """Florence-2: fine-tune it on your own boxes or captions, and put it where every worker finds it."""


@command.command("tune")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--run", required=True, type=click.Path(file_okay=False, path_type=Path), help="all that comes of it")
@click.option("--start-from", type=_Folder, help="begin with these  [default: those that the tagger finds]")
@click.option("--images", type=_Folder, help="where the images lie  [default: beside SOURCE]")
@click.option("--task", default="caption", show_default=True, type=click.Choice(_CAPTIONS), help="of a csv")
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(1), help="times through all images")
@click.option("--lr", default=1e-6, show_default=True, type=click.FloatRange(0, min_open=True), help="learning rate")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1), help="images of a step")
@click.option("--freeze-vision/--train-vision", default=True, show_default=True, help="leave its vision tower as it is")
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
    """Train on SOURCE: boxes as COCO's json, or captions as a csv with the columns file and caption.

    The same command goes on after an interruption, at the last whole epoch, and ends with the same weights.
    """
    found = start_from or _found(settings)
    from training.florence2.fine_tuning import Options, tune
    from training.florence2.lessons import read

    lessons = read(source, images, task)
    click.echo(f"{len(lessons)} images to learn from", err=True)
    options = Options(epochs=epochs, lr=lr, batch=batch, freeze_vision=freeze_vision, seed=seed)
    folder = tune(lessons, found, run, options, lambda line: click.echo(line, err=True))
    click.echo(f'{folder}: serve it by weights = "{folder.absolute()}", or tagfleet florence2 add {folder}')


@command.command("add")
@click.argument("folder", type=_Folder)
@with_settings()
def add_command(settings: Settings, folder: Path) -> None:
    """Put the model in FOLDER into the store, once it is known to load; pools of florence2 go over to it."""
    from app_tier.engines.florence2 import Florence2Engine
    from core.storage import folders
    from core.wiring import Backend

    folders.hashes(folder)
    Florence2Engine(folder)
    manifest = folders.add(Backend(settings).store, _NAME, folder, time.time())
    click.echo(f"{_NAME}@{manifest.version}")


def _found(settings: Settings) -> Path:
    from app_tier.models import model_folders
    from app_tier.models.request import ModelRequest
    from app_tier.taggers.florence2 import REPOSITORY
    from core.wiring import Backend

    pool = next((pool for pool in settings.pools.values() if pool.tagger == _NAME), PoolSettings(tagger=_NAME))
    wanted = ModelRequest(_NAME, pool, settings, Backend(settings).store, lambda done, total: None)
    return model_folders.find(wanted, _NAME, REPOSITORY).fetch()
