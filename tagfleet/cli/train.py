"""`tagfleet train`: train a multi-label tagger."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import ValidationError

from config.settings import Settings
from config.validation import problems
from tagfleet.cli.common import with_settings
from training.fit.options import LossName, Options, Precision, SamplerName

if TYPE_CHECKING:
    from training.fit.loop import TrainingResult

_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_DEFAULTS = Options()
Command = Callable[..., None]


def _option(flag: str, help: str, type: click.ParamType[Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds a flag for the field of `Options` with its name, with the field's default."""
    name = flag.removeprefix("--").replace("-", "_")
    return click.option(flag, name, default=getattr(_DEFAULTS, name), show_default=True, type=type, help=help)


@click.command("train", short_help="Train a multi-label tagger on labelled images.")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--run",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="folder for everything that the training produces",
)
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder of the images")
@click.option("--splits", type=_File, help="file of `tagfleet data split`  [default: the run's own, else 80 : 10 : 10]")
@click.option(
    "--arch", "network", default=_DEFAULTS.network, show_default=True, help="a classifier: resnet50, timm/NAME, …"
)
@click.option("--start-from", type=_File, help="weights to start from  [default: ImageNet's, as the taggers find them]")
@click.option("--from-scratch", is_flag=True, help="start from random weights")
@_option("--image-size", "pixels; 0 is the network's own", click.IntRange(0, 2048))
@_option("--loss", "ASL, focal loss or binary cross-entropy", click.Choice(get_args(LossName)))
@_option("--sampler", "whether images of rare labels are used more often", click.Choice(get_args(SamplerName)))
@click.option("--augment/--no-augment", default=_DEFAULTS.augment, show_default=True, help="augment training images")
@_option("--smallest-cut", "share of an image's area", click.FloatRange(0, 1, min_open=True))
@_option("--mirror", "probability", click.FloatRange(0, 1))
@_option("--degrees", "maximum rotation", click.FloatRange(0, 180))
@_option("--operations", "number of RandAugment operations on each image", click.IntRange(0, 14))
@_option("--magnitude", "magnitude of RandAugment", click.IntRange(0, 30))
@_option("--epochs", "maximum number of epochs", click.IntRange(1))
@_option("--batch", "images in a batch, in each process", click.IntRange(1))
@_option("--accumulate", "batches in one step", click.IntRange(1))
@_option("--lr", "the highest learning rate", click.FloatRange(0, min_open=True))
@_option("--weight-decay", "weight decay of AdamW", click.FloatRange(0))
@_option("--warmup", "epochs over which the rate rises", click.FloatRange(0))
@_option("--clip", "maximum norm of the gradient; 0: no limit", click.FloatRange(0))
@_option("--ema", "decay of the moving average of weights, per step; 0: none", click.FloatRange(0, 1, max_open=True))
@_option("--amp", "mixed precision", click.Choice(get_args(Precision)))
@click.option("--frozen-backbone", is_flag=True, help="train only the head")
@_option("--patience", "stop after this many epochs without a better mAP; 0: never", click.IntRange(0))
@_option("--seed", "seed of all random choices", click.IntRange(0))
@click.option("--strict", is_flag=True, help="stop at the first unreadable image instead of skipping it")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0), help="number of processes that decode")
@click.option(
    "--save-every",
    default=500,
    show_default=True,
    type=click.IntRange(1),
    help="save a checkpoint after this many steps, and after each epoch",
)
@with_settings("weights", "cache")
def command(
    settings: Settings,
    source: Path,
    folder: Path,
    images: Path | None,
    splits: Path | None,
    start_from: Path | None,
    from_scratch: bool,
    workers: int,
    save_every: int,
    **chosen: Any,
) -> None:
    """Train a network on SOURCE (COCO's JSON, csv, an export of corrections, or a folder for each class).

    The same command resumes from the last checkpoint, bit for bit. With several GPUs:

        torchrun --nproc-per-node 4 -m -- tagfleet train SOURCE --run DIR …

    Then `tagfleet evaluate DIR SOURCE` and `tagfleet publish DIR --name NAME`.
    """
    from app_tier.models.weights import Places
    from core.wiring import Backend
    from tagfleet.cli.train_progress import Progress
    from training.fit import starting
    from training.fit.loop import train
    from training.fit.observers import ObserverGroup, TensorBoardObserver
    from training.fit.processes import join_processes

    options = _options(chosen)
    places = Places(str(start_from or ""), settings.weights_folder, Backend(settings).store, settings.cache)
    request = starting.TrainingRequest(source, folder, options, images, splits, from_scratch, workers, save_every)
    progress = Progress()
    board = TensorBoardObserver(folder, progress.on_message) if find_spec("tensorboardX") else None
    if board is None:
        click.echo("no TensorBoard log is written; to get one: pip install -r requirements-training.txt", err=True)
    with join_processes(os.environ) as processes, progress, board or nullcontext():
        task = starting.prepare_task(request, places, processes, progress.on_message)
        outcome = train(task, processes, ObserverGroup([progress, board] if board else [progress]))
        if processes.first:
            _echo_outcome(outcome, folder)


def _options(chosen: dict[str, Any]) -> Options:
    try:
        return Options(**chosen)
    except ValidationError as error:  # click's ranges accept nan, and infinity if there is no upper bound
        problem = next(problems(error))
        flag = f"--{problem.where.replace('_', '-')}"
        raise click.BadParameter(f"{problem.given}: {problem.what}", param_hint=flag) from None


def _echo_outcome(outcome: TrainingResult, folder: Path) -> None:
    best = outcome.best
    if outcome.skipped:
        click.echo(f"{len(outcome.skipped)} images could not be read and were skipped", err=True)
    click.echo(f"best of {outcome.epochs} epochs: epoch {best.epoch}, validation mAP {100 * best.mAP:.1f}")
    click.echo(f"{folder / 'best.safetensors'}; next: tagfleet evaluate {folder} SOURCE")
