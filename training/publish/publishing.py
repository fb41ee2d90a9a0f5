"""Make a registry manifest from a trained and evaluated run: weights, labels, thresholds and a model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from app_tier.model_tools import importing
from config.validation import first_problem
from core.errors import RunInvalid, WeightsInvalid
from core.storage.models import Manifest, sha256_of
from training.data import splits
from training.data.splits import SplitFile
from training.evaluate import evaluation
from training.evaluate.evaluation import EvaluationFigures, LabelFigures
from training.fit import runs
from training.fit.options import Options
from training.fit.runs import TrainingRun

_SHOWN = 5
_FLAGS = {"network": "arch"}


def build_manifest(folder: Path, name: str, created_at: float, *, licence: str = "", about: str = "") -> Manifest:
    """Build the manifest of the run in `folder`, whose weights are `find_weights(folder)`.

    `about` is Markdown for the beginning of the card; `created_at` is Unix time in seconds. Raises RunInvalid if no
    epoch is finished or the evaluation is of other weights or labels; WeightsInvalid if there is no evaluation, or the
    weights do not match the network or are not finite; DataInvalid if the splits are damaged.
    """
    run = runs.read(folder)
    path = find_weights(folder)
    split = splits.read(folder / runs.SPLITS)
    figures = evaluation.read_figures(folder)
    digest = sha256_of(path)
    if figures.weights_sha256 != digest:
        raise RunInvalid(
            f"{folder} was trained further since it was evaluated: run `tagfleet evaluate {folder} SOURCE` again"
        )
    if tuple(one.label for one in figures.labels) != run.labels or len(figures.thresholds) != len(run.labels):
        raise RunInvalid(f"{folder}: its evaluation is of other labels; run `tagfleet evaluate {folder} SOURCE` again")
    _check_finite(path)
    try:
        made = Manifest(
            name=name,
            family=run.family,
            architecture=run.architecture,
            labels=run.labels,
            input=run.input,
            thresholds=figures.thresholds,
            temperature=figures.temperature,
            weights_sha256=digest,
            weights_bytes=path.stat().st_size,
            metrics=figures.metrics,
            trained_on=_describe_data(run, split),
            licence=licence,
            card="\n".join(_write_card(name, run, figures, split, licence, about)),
            created_at=created_at,
        )
    except ValidationError as error:
        raise RunInvalid(f"{folder} cannot be published as {name!r}: {first_problem(error)}") from None
    importing.check_weights(made, path)
    return made


def find_weights(folder: Path) -> Path:
    """Return the file of a run's best weights. Raises RunInvalid if there is none."""
    path = folder / runs.BEST
    if not path.is_file():
        raise RunInvalid(f"{folder} has no {runs.BEST}: its training has not finished an epoch yet")
    return path


def _check_finite(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping
                if not file.get_tensor(name).isfinite().all():
                    raise WeightsInvalid(f"{path}: {name} has values that are not finite; train with a lower --lr")
    except (SafetensorError, OSError) as error:
        raise WeightsInvalid(f"{path} cannot be read as weights: {error}") from None


def _describe_data(run: TrainingRun, split: SplitFile) -> str:
    return f"{run.dataset}: {len(split.train)} images of {len(run.labels)} labels"


def _write_card(
    name: str, run: TrainingRun, figures: EvaluationFigures, split: SplitFile, licence: str, about: str
) -> Iterator[str]:
    if about:
        yield from (about.strip(), "")
    size = run.input.crop
    yield f"# {name}"
    yield ""
    yield (
        f"A multi-label tagger with {len(run.labels)} independent labels. Network {run.architecture}, "
        f"{size} × {size} pixels."
    )
    yield from ("", "## Trained on", "")
    yield (
        f"{run.dataset}: {len(split.train)} images to learn from, {len(split.validation)} to choose epoch, thresholds "
        f"and temperature, {len(split.test)} set aside for the test. Copies of an image are always in the same part."
    )
    yield from ("", "## Measured", "")
    yield from _write_figures(figures)
    yield from ("", "## Licence", "", licence or "Not stated.")
    yield from ("", "## Reproduce", "")
    yield f"    {_format_command(run)}"
    yield "    tagfleet evaluate RUN SOURCE"
    yield ""
    if run.initial_sha256:
        yield f"Training started from weights with SHA-256 {run.initial_sha256[:12]}…"
    yield f"SOURCE has the fingerprint {split.fingerprint[:12]}; `splits.json` in RUN names every image."


def _write_figures(figures: EvaluationFigures) -> Iterator[str]:
    """Yield a table of the figures, each beside that of a tagger that does not look at the image."""
    yield f"On {figures.images} images that were not used for training."
    yield from ("", "| figure | this tagger | baseline |", "|---|---|---|")
    for title, value, silent in (
        ("mAP", figures.mAP, figures.mAP_of_chance),
        ("accuracy per label", figures.label_accuracy, figures.silent_accuracy),
        ("micro precision", figures.micro.precision, None),
        ("micro recall", figures.micro.recall, 0.0),
        ("micro F1", figures.micro.f1, 0.0),
        ("macro F1", figures.macro.f1, 0.0),
        ("calibration error", figures.calibration_error, None),
    ):
        yield f"| {title} | {_format_percent(value)} | {_format_percent(silent)} |"
    yield ""
    yield "Baseline: a tagger that gives no labels; for mAP, one whose scores do not depend on the image."
    ranked = sorted(
        (one for one in figures.labels if one.average_precision is not None),
        key=lambda one: -(one.average_precision or 0),
    )
    if len(ranked) > 2 * _SHOWN:
        yield ""
        yield f"Best labels: {_format_labels(ranked[:_SHOWN])}. Worst: {_format_labels(ranked[-_SHOWN:])}."
    if unseen := len(figures.labels) - len(ranked):
        yield ""
        yield f"{unseen} labels are on none of these images, so their quality is unknown."


def _format_percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _format_labels(labels: Sequence[LabelFigures]) -> str:
    return ", ".join(f"{one.label} {_format_percent(one.average_precision)} of {one.images}" for one in labels)


def _format_command(run: TrainingRun) -> str:
    """Return the command that repeats the training, with every option that differs from its default."""
    parts = ["tagfleet train SOURCE --run RUN", *(() if run.initial_sha256 else ("--from-scratch",))]
    for name, value in run.options:
        if value == Options.model_fields[name].default:
            continue
        flag = _FLAGS.get(name, name.replace("_", "-"))
        parts.append(f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag} {value}")
    return " ".join(parts)
