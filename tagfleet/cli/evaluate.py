"""`tagfleet evaluate`: measure a trained run or a tagger on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import Settings
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import Column, echo_table

if TYPE_CHECKING:
    from training.evaluate.evaluating import Done, Evaluation, EvaluationRequest

_Source = click.Path(exists=True, path_type=Path)
_File = click.Path(exists=True, dir_okay=False, path_type=Path)
_Folder = click.Path(file_okay=False, path_type=Path)


@click.command("evaluate", short_help="Measure a trained run, or any tagger, on labelled images.")
@click.argument("model", metavar="RUN|TAGGER")
@click.argument("source", type=_Source)
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder of the images")
@click.option(
    "--splits", type=_File, help="file of `tagfleet data split`  [default: the run's own; a tagger: all images]"
)
@click.option("--test", type=_Source, help="measure a run on all of these images instead of the test part of its split")
@click.option("--output", type=_Folder, help="[default: RUN/evaluation, or evaluation-TAGGER]")
@click.option("--strict", is_flag=True, help="stop at the first unreadable image instead of skipping it")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(0), help="number of processes that decode, for a run"
)
@with_settings("weights", "cache")
def command(
    settings: Settings,
    model: str,
    source: Path,
    images: Path | None,
    splits: Path | None,
    test: Path | None,
    output: Path | None,
    strict: bool,
    workers: int,
) -> None:
    """Measure a training run, or a tagger that the fleet could serve (`coco80@1a2b3c4d`, `resnet50`, …).

    The command chooses a run's thresholds and temperature on its validation images, and takes all figures from its test
    images. A tagger keeps its own thresholds. report.html has plots; figures.json has everything for programs.
    """
    from rich.console import Console
    from rich.progress import Progress

    from training.evaluate import evaluation_report
    from training.evaluate.evaluating import EvaluationRequest
    from training.fit.runs import RUN

    request = EvaluationRequest(source, images, splits, test, strict, workers)
    is_run = (Path(model) / RUN).exists()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluating", total=None)
        found = _evaluate(model, is_run, request, settings, lambda more: bar.advance(task, more))
    folder = output or (Path(model) / "evaluation" if is_run else Path(f"evaluation-{model.replace('/', '-')}"))
    evaluation_report.write(found, folder)
    echo_table([Column(), Column()], evaluation_report.list_figures(found.figures))
    for problem in found.figures.skipped[:10]:
        click.echo(f"skipped {problem}", err=True)
    click.echo(f"{folder / 'report.html'}", err=True)


def _evaluate(model: str, is_run: bool, request: EvaluationRequest, settings: Settings, done: Done) -> Evaluation:
    from app_tier.taggers.multilabel import MultiLabelTagger
    from app_tier.worker import selection
    from core.storage.models import Registry
    from core.wiring import Backend
    from training.evaluate import evaluating

    if is_run:
        return evaluating.evaluate_run(Path(model), request, settings, done)
    store = Backend(settings).store
    pool = settings.pools[settings.default_pool].model_copy(update={"tagger": model, "weights": "", "fallback": ""})
    tagger = selection.choose(pool, settings, store, lambda *_: None).load()
    thresholds = Registry(store).find(tagger.version).thresholds if isinstance(tagger, MultiLabelTagger) else ()
    return evaluating.evaluate_tagger(tagger, thresholds, request, done)
