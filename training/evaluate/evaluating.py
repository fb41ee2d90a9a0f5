"""Evaluate a trained run or any tagger on labelled photos."""

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
from training.data.loading import decoder
from training.evaluate import unseen
from training.evaluate.evaluation import Figures, evaluate_scores
from training.evaluate.thresholds import calibrate
from training.fit import prediction, runs
from training.fit.runs import BEST, SPLITS
from training.metrics import Floats, Scores, Truth, sigmoid

_AT_ONCE = 32
_MOST_TAGS = 1000
"""Most tags that any tagger may be asked for."""

Done = Callable[[int], None]
"""Gets the number of images of each finished batch."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures, and the probabilities and truth of each image for the report."""

    name: str
    dataset: str
    figures: Figures
    scores: Scores
    truth: Truth


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command's arguments."""

    source: Path
    images: Path | None = None
    splits: Path | None = None
    test: Path | None = None
    """Other labelled images in place of the run's own test part."""
    strict: bool = False
    workers: int = 0


def of_run(folder: Path, wanted: Wanted, settings: Settings, done: Done = lambda _: None) -> Evaluation:
    """Evaluate a run's best weights on its test images, with thresholds and temperature from its validation images.

    It runs on the engine that would serve it. Raises RunInvalid, WeightsInvalid, DataInvalid (also for images that the
    run was trained on).
    """
    run = runs.read(folder)
    dataset = reading.read(wanted.source, wanted.images)
    parts = splits.load(wanted.splits or folder / SPLITS, dataset)
    other = reading.read(wanted.test) if wanted.test else None
    unseen.check(folder, run, dataset, parts, other)
    path = folder / BEST
    if not path.is_file():
        raise DataInvalid(f"{folder} has no {BEST} yet: no epoch of it is done")
    network = run.network()
    digest = sha256_of(path)
    engine = load_engines(network, weights.Weights(path, digest, "run"), settings).fast

    def answers(part: Dataset) -> prediction.Answers:
        part = relabelled(part, run.labels)
        infer = prediction.of_engine(engine)
        found = prediction.answers(infer, part.examples, network, batch=_AT_ONCE, workers=wanted.workers, done=done)
        if wanted.strict and found.problems:
            raise DataInvalid(found.problems[0])
        if not found.truth.any():
            raise DataInvalid(f"{part.name}: no image to choose or measure by shows any label that {folder} knows")
        return found

    test_part = other or parts.test
    validation, test = answers(parts.validation), answers(test_part)
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


def of_tagger(tagger: Tagger, thresholds: Sequence[float], wanted: Wanted, done: Done = lambda _: None) -> Evaluation:
    """Evaluate a tagger as the fleet runs it, on all images of the source or on the test part of a split.

    A tagger without thresholds gives each image one label. The image must then have exactly one, and the figures are
    the shares of the first 1, 5 and 10. Confidences are rounded as the tagger rounds them; a label that it does not
    name has confidence 0.
    """
    dataset = reading.read(wanted.source, wanted.images)
    part = splits.load(wanted.splits, dataset).test if wanted.splits else dataset
    labels = tuple(tagger.labels)
    part = relabelled(part, labels)
    if not thresholds:
        _check_single(part, tagger.name)
    scores, truth, problems = _confidences(tagger, part.examples, done)
    if problems and wanted.strict:
        raise DataInvalid(problems[0])
    figures = evaluate_scores(scores, truth, labels, thresholds=thresholds, skipped=problems)
    return Evaluation(tagger.version, dataset.name, figures, scores, truth)


def relabelled(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """Return the same images with a model's labels, matched by name without regard to case.

    Raises DataInvalid for labels that the model does not know.
    """
    positions = {label.casefold(): position for position, label in enumerate(labels)}
    used = {label for example in dataset.examples for label in example.labels}
    if unknown := [
        dataset.labels[label] for label in sorted(used) if dataset.labels[label].casefold() not in positions
    ]:
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise DataInvalid(
            f"{dataset.name} has {len(unknown)} labels that the model does not know: {shown}; "
            "leave them out of the data, or train a model that knows them"
        )
    to = [positions.get(label.casefold(), -1) for label in dataset.labels]
    examples = tuple(replace(one, labels=frozenset(to[label] for label in one.labels)) for one in dataset.examples)
    return replace(dataset, labels=tuple(labels), examples=examples)


def _check_single(dataset: Dataset, name: str) -> None:
    for example in dataset.examples:
        if len(example.labels) != 1:
            raise DataInvalid(
                f"{name} gives each image one label, and {dataset.relative(example)} has {len(example.labels)}: "
                "evaluate it on images with one label each, such as a folder for each class"
            )


def _confidences(tagger: Tagger, examples: Sequence[Example], done: Done) -> tuple[Floats, Truth, tuple[str, ...]]:
    """Return confidences and truth, (N, C) each, of the readable images, and the problems of the others."""
    positions = {label: position for position, label in enumerate(tagger.labels)}
    options = TagOptions(top_k=min(len(positions), _MOST_TAGS), min_confidence=0.0, cumulative=1.0)
    decode = decoder(tagger.side)
    rows: list[Floats] = []
    truths: list[Truth] = []
    problems: list[str] = []
    for some in _portions(examples, _AT_ONCE):
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


def _portions(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    for start in range(0, len(examples), size):
        yield examples[start : start + size]
