"""`tagfleet models quantise`: make a tagger's int8 form, measure it, and offer it to workers."""

from __future__ import annotations

import tempfile
import textwrap
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
    from app_tier.engines.int8 import Int8Figures, Int8Form
    from app_tier.model_tools.quantisation import EvaluationPhoto
    from app_tier.models.networks import Network
    from app_tier.models.weights import Weights

_NAMES_SHOWN = 4
_LABELLED_LEAST, _LABELLED_MOST = 100, 300
"""Photos of the store that calibrate, if others are measured on."""
_WIDTH = 79
"""Characters in a line of sentences."""


@click.command("quantise")
@click.argument("name")
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="folder of a hundred photos or more, like those to be tagged",
)
@click.option("--from-store", is_flag=True, help="use photos that were uploaded, in place of a folder")
@click.option(
    "--labelled",
    type=click.Path(exists=True, path_type=Path),
    help="photos with one right label each: a folder for each class, or a csv; at least 200",
)
@with_settings("weights", "cache")
def command(settings: Settings, name: str, calibration: Path | None, from_store: bool, labelled: Path | None) -> None:
    """Make and measure the int8 form of a tagger. Offer it to workers if it is accurate enough.

    NAME is resnet50, mobilenetv2, efficientnet-lite0, timm/NAME, or a single-label model of the registry.

    The form is judged as workers run it, with its near-ties computed again in bf16 or fp32. It is refused if it loses
    more top-1 accuracy on labelled photos than chance explains (McNemar's test, 5 %), or if its top label is fp32's on
    fewer than 95 % of the photos, beyond chance. Then the command shows the figures, deletes the form and any earlier
    one, and exits with code 1. Otherwise workers that start on a CPU use it, if 200 photos were labelled, or if 95 % is
    reached beyond chance. Making the form needs requirements-int8.txt, running it does not.
    """
    if (calibration is None) is not from_store:
        raise click.UsageError("give either --calibration FOLDER or --from-store")
    if find_spec("nncf") is None:
        raise click.ClickException(
            "NNCF, which makes int8 forms, is not installed: python -m pip install -r requirements-int8.txt"
        )
    from app_tier.engines import int8
    from app_tier.model_tools import quantisation, stored_photos
    from app_tier.taggers.int8_offer import ENOUGH_PHOTOS

    store = Backend(settings).store
    network, weights = quantisation.find_model(name, settings, store)
    with tempfile.TemporaryDirectory(prefix="tagfleet-int8-") as scratch:
        if calibration is None:
            calibration = Path(scratch, "photos")
            least, most = (_LABELLED_LEAST, _LABELLED_MOST) if labelled else (ENOUGH_PHOTOS, stored_photos.MOST)
            copied = stored_photos.copy(store, calibration, least=least, most=most)
            _tell(f"copied {copied} photos from the store; they are deleted after the measurement")
        evaluation = _read_labelled(labelled, network.label_names) if labelled else []
        photos, evaluation = _separate(_list_files(calibration), evaluation)
        form = _make(network, weights, photos, evaluation, settings, Path(scratch, "form"))
        for line in _report_lines(form.figures):
            click.echo(line)
        if refusals := form.figures.refusals:
            int8.refuse(form.figures, network, weights.sha256, store)
            click.echo(f"tagfleet: int8 of {name} is refused: {'; '.join(refusals)}", err=True)
            raise SystemExit(1)
        int8.publish(form, network, weights.sha256, store)
    if form.figures.offered:
        last = f"offered: workers of {name} that start on a CPU from now on run it in int8"
    else:
        last = f'not offered, but kept for workers with worker.precision = "int8": {form.figures.why_not}'
    click.echo(textwrap.fill(last, _WIDTH, break_on_hyphens=False))


def _make(
    network: Network,
    weights: Weights,
    photos: list[Path],
    evaluation: list[EvaluationPhoto],
    settings: Settings,
    folder: Path,
) -> Int8Form:
    from app_tier.engines import openvino
    from app_tier.model_tools import quantisation
    from app_tier.taggers import classifiers
    from core.imaging.decode import DecodeBudget, Decoder

    folder.mkdir()
    decoder = Decoder(network.resize, DecodeBudget(settings.worker.decode_memory_mb))
    return quantisation.make(
        network,
        openvino.convert_once(network, weights.path, weights.sha256, settings.cache),
        quantisation.PhotoSet(photos, evaluation, decoder),
        folder,
        serving=quantisation.Serving(
            settings.worker.threads or classifiers.count_cores(), bf16=classifiers.use_bf16(network, settings)
        ),
        tell=_tell,
    )


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _report_lines(figures: Int8Figures) -> list[str]:
    lines = [
        f"calibrated on {figures.calibrated_on} photos, measured on {figures.photos}, {figures.labelled} with labels",
    ]
    rows = []
    for name, images_per_s in figures.images_per_s.items():
        top1 = f"{figures.top1[name]:.2%}" if name in figures.top1 else "–"
        agreement = f"{figures.agreement[name]:.1%}" if name in figures.agreement else "–"
        rows.append((name, top1, agreement, f"{images_per_s:.1f}"))
    columns: Columns = ("precision", *(Column(title, right=True) for title in ("top-1", "as fp32", "images/s")))
    lines += table_lines(columns, rows, width=terminal_width())
    before = "bf16 settled" if "bf16 settled" in figures.images_per_s else "fp32"
    lines.append(
        f"int8 settled is {figures.speedup:.2f} times as fast as {before}, and computes {figures.settled:.1%} of the "
        f"photos again: those whose two highest outputs differ by less than {figures.near_tie:.3g}"
    )
    if (chance := figures.chance) is not None:
        lines.append(
            f"of the {figures.labelled} labelled photos, fp32 alone is right on {figures.lost}, and int8 settled alone "
            f"on {figures.won}; chance does as much in {chance:.0%} of measurements"
        )
    return [wrapped for line in lines for wrapped in (textwrap.wrap(line, _WIDTH) if len(line) > _WIDTH else [line])]


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
    """Remove the evaluation photos, by content, from those for calibration. Without any, calibrate on every third."""
    from app_tier.model_tools.quantisation import EvaluationPhoto

    if not evaluation:
        evaluation = [EvaluationPhoto(path) for number, path in enumerate(photos) if number % 3]
    hashes = {sha256_of(photo.path) for photo in evaluation}
    return [path for path in photos if sha256_of(path) not in hashes], evaluation
