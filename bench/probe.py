"""`python -m bench.probe SOURCE`: measure what an ImageNet network's features alone say about other labels.

A linear layer is trained on the features of the training images, with focal loss and with binary cross-entropy, and
measured on unseen images, beside scores that ignore the image. No result decides anything: steps, rate and decay are
fixed, and the same for both losses.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from app_tier.models import weights
from app_tier.models.weights import Places
from app_tier.taggers.classifiers import load_engines
from config import settings as config
from config.settings import Settings
from core.errors import DataInvalid, TagfleetError
from core.wiring import Backend
from training.data import reading, splits
from training.data.examples import Dataset
from training.fit import losses, metrics, networks, prediction
from training.fit.losses import Loss
from training.fit.metrics import Floats, Scores, Truth

STEPS = 300
RATE = 1e-4
DECAY = 1e-2
TRAIN, TEST = 0.7, 0.3
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Result:
    """One way to score, on the test images of one split. Shares 0..1; `training.fit.metrics` defines them."""

    mAP: float  # noqa: N815  # its name everywhere
    pooled: float
    """Average precision over all pairs of image and label."""
    accuracy: float
    """Over all pairs, with a threshold of one half."""


Way = Callable[[Floats, Truth, Floats], Scores]
"""Features and truth of the training images, features of the test images → probabilities (N, C)."""


def silent(features: Floats, truth: Truth, unseen: Floats) -> Scores:
    """Score every label 0."""
    return np.zeros((len(unseen), truth.shape[1]))


def prior(features: Floats, truth: Truth, unseen: Floats) -> Scores:
    """Score each label by its frequency, whatever the image shows."""
    return np.tile(truth.mean(axis=0), (len(unseen), 1))


def learned(loss: Loss, seed: int) -> Way:
    """A linear layer over features that the training images' mean and deviation normalise; full batches."""

    def scores(features: Floats, truth: Truth, unseen: Floats) -> Scores:
        mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
        inputs = torch.from_numpy((features - mean) / deviation).float()
        wanted = torch.from_numpy(truth).float()
        torch.manual_seed(seed)
        layer = nn.Linear(inputs.shape[1], wanted.shape[1])
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.copy_(torch.logit(wanted.mean(dim=0).clamp(1e-3, 1 - 1e-3)))
        optimizer = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss(layer(inputs), wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            outputs = layer(torch.from_numpy((unseen - mean) / deviation).float())
        return metrics.sigmoid(outputs.numpy())

    return scores


def ways(seed: int) -> dict[str, Way]:
    """By name, in the order of the table."""
    return {
        "saying nothing": silent,
        "prior only": prior,
        "linear probe, BCE": learned(losses.binary_cross_entropy, seed),
        "linear probe, focal loss": learned(losses.focal, seed),
    }


def measure(way: Way, features: Floats, truth: Truth, train: Sequence[int], test: Sequence[int]) -> Result:
    """Train on the rows `train` and measure on the rows `test`."""
    scores, there = way(features[train], truth[train], features[test]), truth[test]
    return Result(
        mAP=metrics.mean_average_precision(scores, there),
        pooled=metrics.average_precision(scores.ravel(), there.ravel()),
        accuracy=metrics.label_accuracy(scores >= 0.5, there),
    )


def compare(dataset: Dataset, features: Floats, truth: Truth, count: int) -> dict[str, list[Result]]:
    """Return each way's results on several splits by image, with the seeds 0, 1, …"""
    positions = {example.path: position for position, example in enumerate(dataset.examples)}
    found: dict[str, list[Result]] = {name: [] for name in ways(0)}
    for seed in range(count):
        parts = splits.split(dataset, (TRAIN, 0.0, TEST), seed)
        train = [positions[example.path] for example in parts.train.examples]
        test = [positions[example.path] for example in parts.test.examples]
        for name, way in ways(seed).items():
            found[name].append(measure(way, features, truth, train, test))
    return found


def table(found: dict[str, list[Result]]) -> Iterator[str]:
    """Return a Markdown table: mean ± standard deviation over the splits, in percent."""
    yield "| scores | mAP | AP of all pairs | per-label accuracy |"
    yield "|---|---|---|---|"
    for name, results in found.items():
        cells = [[getattr(one, field) for one in results] for field in Result.__slots__]
        yield f"| {name} | {' | '.join(map(_spread, cells))} |"


def _spread(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def described(dataset: Dataset, architecture: str, settings: Settings, path: str) -> tuple[Dataset, Floats, Truth]:
    """Features (N, d) of the images that can be read, by the engine that serves the network, and what is on them."""
    known = networks.look_up_network(architecture, settings.cache)
    places = Places(path, settings.weights_folder, Backend(settings).store, settings.cache)
    found = weights.find(known, places, download=lambda *_: None)
    below = replace(known, head=False, labels=dataset.labels)
    engine = load_engines(below, found, settings).fast
    answers = prediction.predict(prediction.infer_with_engine(engine), dataset.examples, below, batch=_BATCH)
    if answers.problems:
        raise DataInvalid(f"{answers.problems[0]}: take it out of the data")
    return dataset, answers.outputs, answers.truth


@click.command("probe")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="where the images lie")
@click.option("--weights", "path", default="", help="of the network  [default: as its tagger finds them]")
@click.option("--arch", default="resnet50", show_default=True)
@click.option("--splits", "count", default=10, show_default=True, type=click.IntRange(2))
def main(source: Path, images: Path | None, path: str, arch: str, count: int) -> None:
    """Compare losses of a linear probe over an ImageNet network's features, on several splits of SOURCE."""
    began = time.monotonic()
    torch.set_num_threads(1)  # matrices as small as these gain nothing by more
    try:
        dataset, features, truth = described(reading.read(source, images), arch, config.load(os.environ), path)
        found = compare(dataset, features, truth, count)
    except TagfleetError as error:
        raise click.ClickException(str(error)) from None
    there = int(truth.any(axis=0).sum())
    click.echo(
        f"{len(truth)} images, {there} of {truth.shape[1]} labels on any, {truth.sum() / len(truth):.1f} labels an "
        f"image; features of {arch} ({features.shape[1]}); {count} splits {100 * TRAIN:.0f} : {100 * TEST:.0f} by "
        f"image; mean ± standard deviation, %"
    )
    for line in table(found):
        click.echo(line)
    click.echo(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
