"""Run a trained network or any tagger on labelled images, and compute all figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app_tier.models import weights
from app_tier.taggers import Tagger
from app_tier.taggers.classifiers import load_engines
from config.settings import Settings
from core.domain.messages import TagOptions
from core.errors import BadImage, DataInvalid
from core.storage.models import sha256_of
from training.data import reading, splits
from training.data.examples import Dataset, Example
from training.data.loading import make_decoder
from training.evaluate import unseen
from training.evaluate.evaluation import EvaluationFigures, evaluate_scores
from training.evaluate.thresholds import calibrate
from training.fit import prediction, runs
from training.fit.metrics import Floats, Scores, Truth, sigmoid
from training.fit.runs import BEST, SPLITS

_AT_ONCE = 32
_MOST_TAGS = 1000
"""Maximum of `top_k` in a request to a tagger."""

Done = Callable[[int], None]
"""Receives the number of images just processed."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of an evaluation, and the data of its report: probabilities and truth, (N, C) each."""

    name: str
    dataset: str
    figures: EvaluationFigures
    scores: Scores
    truth: Truth


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """The arguments of `tagfleet evaluate`."""

    source: Path
    images: Path | None = None
    splits: Path | None = None
    test: Path | None = None
    """Other labelled images, all of which replace the test part of a run."""
    strict: bool = False
    workers: int = 0


def evaluate_run(
    folder: Path, request: EvaluationRequest, settings: Settings, done: Done = lambda _: None
) -> Evaluation:
    """Evaluate a run's best weights on its test images, with thresholds and temperature from its validation images.

    The network runs on the engine that would serve it. Raises RunInvalid, WeightsInvalid, and DataInvalid, also if a
    test image was used for training or model selection.
    """
    run = runs.read(folder)
    dataset = reading.read(request.source, request.images)
    parts = splits.load(request.splits or folder / SPLITS, dataset)
    other = reading.read(request.test) if request.test else None
    unseen.check(folder, run, dataset, parts, other)
    path = folder / BEST
    if not path.is_file():
        raise DataInvalid(f"{folder} has no {BEST} yet: wait until its training has finished an epoch")
    network = run.network()
    digest = sha256_of(path)
    engine = load_engines(network, weights.Weights(path, digest, "run"), settings).fast

    def predict_part(part: Dataset) -> prediction.Predictions:
        part = relabel(part, run.labels)
        infer = prediction.infer_with_engine(engine)
        found = prediction.predict(infer, part.examples, network, batch=_AT_ONCE, workers=request.workers, done=done)
        if request.strict and found.problems:
            raise DataInvalid(found.problems[0])
        if not found.truth.any():
            raise DataInvalid(f"{part.name}: no readable image has a label that {folder} knows, so nothing is measured")
        return found

    test_part = other or parts.test
    validation, test = predict_part(parts.validation), predict_part(test_part)
    chosen = calibrate(validation.outputs, validation.truth)
    scores = sigmoid(test.outputs / chosen.temperature)
    figures = evaluate_scores(
        scores,
        test.truth,
        run.labels,
        thresholds=chosen.thresholds,
        temperature=chosen.temperature,
        skipped=test.problems + validation.problems,
    )
    figures = figures.model_copy(update={"weights_sha256": digest})
    return Evaluation(str(folder), test_part.name, figures, scores, test.truth)


def evaluate_tagger(
    tagger: Tagger, thresholds: Sequence[float], request: EvaluationRequest, done: Done = lambda _: None
) -> Evaluation:
    """Evaluate a tagger of the fleet on all images of the source, or on the test part of a split.

    Without thresholds the tagger gives each image one label; each image must then have exactly one, and the figures
    include top-1, top-5 and top-10. Confidences are rounded as the tagger rounds them, and a label that it does not
    return has confidence 0. Raises DataInvalid.
    """
    dataset = reading.read(request.source, request.images)
    part = splits.load(request.splits, dataset).test if request.splits else dataset
    labels = tuple(tagger.labels)
    part = relabel(part, labels)
    if not thresholds:
        _check_single(part, tagger.name)
    scores, truth, problems = _predict(tagger, part.examples, done)
    if problems and request.strict:
        raise DataInvalid(problems[0])
    figures = evaluate_scores(scores, truth, labels, thresholds=thresholds, skipped=problems)
    return Evaluation(tagger.version, dataset.name, figures, scores, truth)


def relabel(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """Return the same images with a model's labels, matched by name regardless of case.

    Raises DataInvalid if an image has a label that the model does not know.
    """
    positions = {label.casefold(): position for position, label in enumerate(labels)}
    used = {label for example in dataset.examples for label in example.labels}
    if unknown := [
        dataset.labels[label] for label in sorted(used) if dataset.labels[label].casefold() not in positions
    ]:
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataInvalid(
            f"{dataset.name} has {len(unknown)} labels that the model does not know: {shown}; "
            "remove them from the data, or train a model that knows them"
        )
    to = [positions.get(label.casefold(), -1) for label in dataset.labels]
    examples = tuple(replace(one, labels=frozenset(to[label] for label in one.labels)) for one in dataset.examples)
    return replace(dataset, labels=tuple(labels), examples=examples)


def _check_single(dataset: Dataset, name: str) -> None:
    for example in dataset.examples:
        if len(example.labels) != 1:
            raise DataInvalid(
                f"{name} gives each image one label, and {dataset.relative_name(example)} has {len(example.labels)}: "
                "evaluate it on images with one label each, such as a folder for each class"
            )


def _predict(tagger: Tagger, examples: Sequence[Example], done: Done) -> tuple[Floats, Truth, tuple[str, ...]]:
    """Return confidences and truth of the readable images, (N, C) each, and the problems with the others."""
    positions = {label: position for position, label in enumerate(tagger.labels)}
    options = TagOptions(top_k=min(len(positions), _MOST_TAGS), min_confidence=0.0, cumulative=1.0)
    decode = make_decoder(tagger.side)
    rows: list[Floats] = []
    truths: list[Truth] = []
    problems: list[str] = []
    for some in _split_portions(examples, _AT_ONCE):
        frames = []
        for example in some:
            try:
                frames.append(tagger.preprocess(decode(example.path)))
            except BadImage as error:
                problems.append(f"{example.path}: {error}")
                continue
            truth = np.zeros(len(positions), np.bool_)
            truth[list(example.labels)] = True
            truths.append(truth)
        for predicted in tagger.infer(np.stack(frames), [options] * len(frames)) if frames else []:
            row = np.zeros(len(positions))
            for tag in predicted.tags:
                row[positions[tag.name]] = tag.confidence or 0.0
            rows.append(row)
        done(len(some))
    shape = (len(rows), len(positions))
    return np.array(rows).reshape(shape), np.array(truths, np.bool_).reshape(shape), tuple(problems)


def _split_portions(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    for start in range(0, len(examples), size):
        yield examples[start : start + size]
