"""Prepare a training: read and split the data, find network and initial weights, create the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app_tier.models import weights
from app_tier.models.networks import Network
from app_tier.models.weights import Places
from core.errors import DataInvalid, TrainingStopped, WeightsMissing
from training.data import duplicates, fingerprints, reading, splits
from training.data.examples import Dataset
from training.data.splits import Splits
from training.fit import networks, runs
from training.fit.loop import Task
from training.fit.options import Options
from training.fit.processes import Processes
from training.fit.runs import TrainingRun

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The arguments of `tagfleet train`."""

    source: Path
    folder: Path
    options: Options
    images: Path | None = None
    """The folder of the images if it is not beside the source."""
    splits: Path | None = None
    """A file from `tagfleet data split`; None: the run's own, or else a new split."""
    from_scratch: bool = False
    workers: int = 0
    save_every: int = 500


def prepare_task(request: TrainingRequest, places: Places, processes: Processes, say: Say) -> Task:
    """Read and split the data, find the initial weights, and create the run's folder or check the existing one.

    With several processes, the first one writes all files before the others start. Raises DataInvalid, WeightsMissing,
    WeightsInvalid, RunInvalid, TrainingStopped.
    """
    if not processes.first:
        processes.wait()
    prepared = _prepare(request, places, processes, say if processes.first else lambda _: None)
    if processes.first:
        processes.wait()
    return prepared


def _prepare(request: TrainingRequest, places: Places, processes: Processes, say: Say) -> Task:
    dataset = reading.read(request.source, request.images)
    parts = _split(dataset, request, say)
    _check(parts, say)
    network = networks.resize_network(
        networks.look_up_network(request.options.network, places.cache), request.options.image_size
    )
    path, digest = _find_weights(network, request, places, say)
    run = TrainingRun(
        options=request.options,
        architecture=network.architecture,
        input=network.input,
        labels=dataset.labels,
        dataset=dataset.name,
        splits_sha256=_hash(parts, dataset),
        initial_sha256=digest,
        processes=processes.count,
    )
    _begin(request.folder, run, parts, dataset)
    return Task(request.folder, run, parts, path, request.workers, request.save_every)


def _split(dataset: Dataset, request: TrainingRequest, say: Say) -> Splits:
    for path in (request.splits, request.folder / runs.SPLITS):
        if path is not None and path.exists():
            return splits.load(path, dataset)
    if request.splits is not None:
        raise DataInvalid(f"{request.splits} does not exist; `tagfleet data split` makes it")
    say(f"searching {len(dataset.examples)} images for copies, to keep each with its original")
    prints = fingerprints.compute_fingerprints([example.path for example in dataset.examples])
    return splits.split(duplicates.group_copies(dataset, duplicates.find_copies(prints)), seed=request.options.seed)


def _check(parts: Splits, say: Say) -> None:
    for name, part in parts.parts.items():
        if name != "test" and not any(example.labels for example in part.examples):
            raise DataInvalid(f"no image of the {name} part has a label: split the data again, or add labelled images")
    counts = parts.train.counts()
    if empty := [label for label, count in zip(parts.train.labels, counts, strict=True) if not count]:
        shown = ", ".join(empty[:10]) + (", …" if len(empty) > 10 else "")
        say(f"{len(empty)} labels have no training image and cannot be learned: {shown}")


def _find_weights(network: Network, request: TrainingRequest, places: Places, say: Say) -> tuple[Path | None, str]:
    """Return file and hex SHA-256 of the initial weights; None and "" for random ones."""
    if request.from_scratch:
        return None, ""
    say(f"searching the ImageNet weights of {network.name}")
    try:
        found = weights.find(network, places, download=lambda *_: None)
    except WeightsMissing as missing:
        raise WeightsMissing(f"{missing}. Or start from random weights: --from-scratch") from None
    return found.path, found.sha256


def _begin(folder: Path, run: TrainingRun, parts: Splits, dataset: Dataset) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / runs.RUN).exists():
            splits.save(parts, folder / runs.SPLITS, dataset)
    except OSError as error:
        raise TrainingStopped(f"{error.filename or folder} could not be written: {error.strerror}") from None
    runs.begin(folder, run)


def _hash(parts: Splits, dataset: Dataset) -> str:
    named = {name: map(dataset.relative_name, part.examples) for name, part in parts.parts.items()}
    return runs.hash_splits(dataset.fingerprint, named)
