"""`tagfleet models quantise`: make a tagger's int8 form, measure it, and offer it to workers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.labels import hierarchy
from config.settings import Settings
from core.errors import DataInvalid
from core.storage.models import sha256_of
from core.wiring import Backend
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import Column, Columns, table_lines, terminal_width

if TYPE_CHECKING:
    from app_tier.engines.int8 import Int8Figures
    from app_tier.model_tools.quantisation import EvaluationPhoto

_NAMES_SHOWN = 4


@click.command("quantise")
@click.argument("name")
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="folder of a hundred photos or more, like those to be tagged",
)
@click.option(
    "--labelled",
    type=click.Path(exists=True, path_type=Path),
    help="photos with one right label each: a folder for each class, or a csv; at least 200",
)
@with_settings("weights", "cache")
def command(settings: Settings, name: str, calibration: Path, labelled: Path | None) -> None:
    """Make and measure the int8 form of a tagger. Offer it to workers if it is accurate enough.

    NAME is resnet50, mobilenetv2, efficientnet-lite0, timm/NAME, or a single-label model of the registry.

    The form is accurate enough if it loses at most half a point of top-1 accuracy and its top label is fp32's on 94 %
    of the photos. Then workers that start on a CPU use it. Otherwise the command shows the figures, deletes the form
    and any earlier one, and exits with code 1. With fewer than 200 labelled photos, it keeps the form for workers with
    worker.precision = "int8". Making the form needs requirements-int8.txt, running it does not.
    """
    if find_spec("nncf") is None:
        raise click.ClickException(
            "NNCF, which makes int8 forms, is not installed: python -m pip install -r requirements-int8.txt"
        )
    from app_tier.engines import int8, openvino
    from app_tier.model_tools import quantisation
    from app_tier.taggers import classifiers
    from core.imaging.decode import DecodeBudget, Decoder

    store = Backend(settings).store
    network, weights = quantisation.find_model(name, settings, store)
    evaluation = _read_labelled(labelled, network.label_names) if labelled else []
    calibration_photos, evaluation = _separate(_list_files(calibration), evaluation)
    decoder = Decoder(network.resize, DecodeBudget(settings.worker.decode_memory_mb))
    with tempfile.TemporaryDirectory(prefix="tagfleet-int8-") as scratch:
        form = quantisation.make(
            network,
            openvino.convert_once(network, weights.path, weights.sha256, settings.cache),
            quantisation.PhotoSet(calibration_photos, evaluation, decoder),
            Path(scratch),
            threads=settings.worker.threads or classifiers.count_cores(),
            tell=lambda line: click.echo(line, err=True),
        )
        for line in _report_lines(form.figures):
            click.echo(line)
        if refusals := form.figures.refusals:
            int8.withdraw(network, weights.sha256, store)
            click.echo(f"tagfleet: int8 of {name} is refused: {'; '.join(refusals)}", err=True)
            raise SystemExit(1)
        int8.publish(form, network, weights.sha256, store)
    if form.figures.offered:
        click.echo(f"offered: workers of {name} that start on a CPU from now on run it in int8")
    else:
        click.echo(
            f"not offered: {form.figures.labelled} photos have labels, and at least {int8.MIN_LABELLED} are needed; "
            'it is kept for workers with worker.precision = "int8"'
        )


def _report_lines(figures: Int8Figures) -> list[str]:
    lines = [
        f"calibrated on {figures.calibrated_on} photos, measured on {figures.photos}, {figures.labelled} with labels",
    ]
    rows = []
    for name in ("fp32", "bf16", "int8", "int8 settled"):
        if name not in figures.agreement and name not in figures.images_per_s:
            continue
        top1 = f"{figures.top1[name]:.1%}" if name in figures.top1 else "–"
        agreement = f"{figures.agreement[name]:.1%}" if name in figures.agreement else "–"
        rate = f"{figures.images_per_s[name]:.1f}" if name in figures.images_per_s else "–"
        rows.append((name, top1, agreement, rate))
    columns: Columns = ("precision", *(Column(title, right=True) for title in ("top-1", "as fp32", "images/s")))
    lines += table_lines(columns, rows, width=terminal_width())
    lines.append(
        f"settled in fp32: {figures.settled:.1%} of the photos, whose two highest outputs differ by less than "
        f"{figures.near_tie:.3g}"
    )
    return lines


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _read_labelled(source: Path, names: Sequence[str]) -> list[EvaluationPhoto]:
    """Read labelled photos. A class is a label's name, in any case, or its ImageNet id (n02088364).

    Raises DataInvalid.
    """
    from app_tier.model_tools.quantisation import EvaluationPhoto
    from training.data.reading import read

    dataset = read(source)
    by_name = {name.casefold(): number for number, name in enumerate(names)}
    numbers = [by_name.get((hierarchy.of_id(label) or label).casefold()) for label in dataset.labels]
    if unknown := [label for label, number in zip(dataset.labels, numbers, strict=True) if number is None]:
        shown = ", ".join(unknown[:_NAMES_SHOWN]) + (", …" if unknown[_NAMES_SHOWN:] else "")
        raise DataInvalid(f"{source}: the tagger has no label {shown}")
    return [
        EvaluationPhoto(example.path, numbers[next(iter(example.labels))])
        for example in dataset.examples
        if len(example.labels) == 1
    ]


def _separate(photos: list[Path], evaluation: list[EvaluationPhoto]) -> tuple[list[Path], list[EvaluationPhoto]]:
    """Remove the evaluation photos, by content, from those for calibration. Without any, evaluate on every third."""
    from app_tier.model_tools.quantisation import EvaluationPhoto

    if not evaluation:
        evaluation = [EvaluationPhoto(path) for path in photos[2::3]]
    hashes = {sha256_of(photo.path) for photo in evaluation}
    return [path for path in photos if sha256_of(path) not in hashes], evaluation
