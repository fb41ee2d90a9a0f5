"""The training loop: steps, validation, checkpoints and early stopping, with exact resumption.

Each epoch runs all steps, validates, and saves the weights if their mAP is the best so far. A checkpoint is saved after
each epoch and every `save_every` steps. A run that is killed and started again ends with the same weights as one that
was never interrupted. With several processes, only the first one writes files and calls the observer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from app_tier.models.networks import Network
from core.errors import DataInvalid, TrainingStopped
from training.data import files
from training.data.augmentation import Augmented, Strength
from training.data.loading import Batch, Draw, Pixels, crop_as_served, load_batches, make_decoder
from training.data.splits import Splits
from training.fit import checkpoint, metrics, networks, prediction, runs
from training.fit.checkpoint import Checkpoint
from training.fit.learner import Learner, NotANumber
from training.fit.metrics import Scores, Truth
from training.fit.observers import TrainingObserver
from training.fit.processes import Processes
from training.fit.runs import Epoch, TrainingRun
from training.fit.sampling import Sampler
from training.fit.schedule import Cosine


@dataclass(frozen=True, slots=True)
class Task:
    """A training to run, and its folders. Only `run`, with the hashes of splits and weights, determines the result."""

    folder: Path
    run: TrainingRun
    splits: Splits
    weights: Path | None
    """File of the initial weights; None: random weights."""
    workers: int = 0
    """Processes that decode ahead; 0 decodes in this process."""
    save_every: int = 500
    """Steps between two checkpoints within an epoch. The end of each epoch saves one too."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The best epoch, the number of epochs, and the skipped images."""

    best: Epoch
    epochs: int
    skipped: tuple[str, ...]
    """Unreadable images: `PATH: reason`."""


def train(
    task: Task, processes: Processes, observer: TrainingObserver, clock: Callable[[], float] = time.monotonic
) -> TrainingResult:
    """Train until all epochs are done or the mAP stops rising. Resumes from the folder's checkpoint if there is one.

    `clock` counts seconds. Raises TrainingStopped if the loss is not finite or a file cannot be written, RunInvalid if
    the checkpoint is of another run, DataInvalid, WeightsInvalid.
    """
    return _Training(task, processes, observer, clock).run()


class _Training:
    def __init__(
        self, task: Task, processes: Processes, observer: TrainingObserver, clock: Callable[[], float]
    ) -> None:
        self._task = task
        self._options = options = task.run.options
        self._processes = processes
        self._observer = observer
        self._clock = clock
        self._network: Network = task.run.network()
        self._sampler = Sampler(options.sampler, task.splits.train.examples, len(task.run.labels), options.seed)
        self._batches = self._sampler.length // (options.batch * processes.count)
        if not self._batches:
            raise DataInvalid(
                f"{self._sampler.length} training images do not fill a batch of {options.batch} in each of "
                f"{processes.count} processes: lower --batch"
            )
        self._steps = math.ceil(self._batches / options.accumulate)
        self._learner = self._build_learner()
        self._at = self._restore() or Checkpoint(task.run.hash, {})

    def run(self) -> TrainingResult:
        """Run the remaining epochs."""
        at, options = self._at, self._options
        if self._processes.first:
            self._observer.on_start(at.step, self._steps * options.epochs, self._steps)
        while not at.finished:
            row, best = self._validate(self._run_steps())
            at.history.append(row.model_dump())
            at.epoch += 1
            at.losses = []
            at.finished = at.epoch == options.epochs or 0 < options.patience <= at.epoch - at.best_epoch
            self._save()
            if self._processes.first:
                runs.write_history(self._task.folder, [Epoch(**each) for each in at.history])
                self._observer.on_epoch(row, best=best)
        return TrainingResult(Epoch(**at.history[at.best_epoch - 1]), len(at.history), tuple(at.skipped))

    def _build_learner(self) -> Learner:
        options = self._options
        torch.manual_seed(options.seed)  # for the new head, and without initial weights for the whole network
        module = networks.build_with_labels(self._network, self._task.run.labels, self._task.weights)
        training = self._task.splits.train
        networks.set_label_priors(module, [count / len(training.examples) for count in training.counts()])
        schedule = Cosine(options.lr, self._steps * options.epochs, round(options.warmup * self._steps))
        return Learner(module, options, schedule, self._processes)

    def _restore(self) -> Checkpoint | None:
        found = checkpoint.load(self._task.folder / runs.LAST, self._task.run.hash)
        if found is not None:
            self._learner.restore(found.learner)
        return found

    def _save(self) -> None:
        if self._processes.first:
            self._at.learner = self._learner.state()
            checkpoint.save(self._at, self._task.folder / runs.LAST)

    def _run_steps(self) -> float:
        """Run the remaining steps of the epoch, and return the images per second of all processes."""
        at = self._at
        started = self._clock()
        seen = 0
        for parts in self._iterate_steps():
            try:
                loss = self._learner.step(at.step, parts)
            except NotANumber as problem:
                raise self._build_error(str(problem)) from None
            at.step += 1
            at.losses.append(loss)
            seen += sum(len(part.pixels) for part in parts) * self._processes.count
            if self._processes.first:
                self._observer.on_step(at.step, loss, self._learner.rate(at.step - 1))
            if at.step % self._task.save_every == 0 and len(at.losses) < self._steps:
                self._save()
        return seen / max(self._clock() - started, 1e-9)

    def _iterate_steps(self) -> Iterator[list[Batch]]:
        """Yield the batches of each remaining step of this epoch."""
        several = self._options.accumulate
        draws = self._draw_batches()[len(self._at.losses) * several :]
        parts: list[Batch] = []
        for number, batch in enumerate(
            load_batches(
                self._task.splits.train.examples,
                len(self._task.run.labels),
                draws,
                self._choose_pixels(),
                replace=True,
                workers=self._task.workers,
            ),
            1,
        ):
            self._note(batch.problems)
            parts.append(batch)
            if len(parts) == several or number == len(draws):
                yield parts
                parts = []

    def _draw_batches(self) -> list[list[Draw]]:
        """Return this process's batches of this epoch."""
        epoch, size, processes = self._at.epoch, self._options.batch, self._processes
        first = epoch * self._sampler.length
        mine = [Draw(int(index), first + place) for place, index in enumerate(self._sampler.order(epoch))]
        mine = mine[processes.rank :: processes.count]
        return [mine[number * size : (number + 1) * size] for number in range(self._batches)]

    def _choose_pixels(self) -> Pixels:
        options = self._options
        if not options.augment:
            return crop_as_served(self._task.splits.train.examples, self._network)
        strength = Strength(
            options.smallest_cut, options.mirror, options.degrees, options.operations, options.magnitude
        )
        return Augmented(
            self._task.splits.train, make_decoder(self._network.resize), self._network.crop, options.seed, strength
        ).pixels

    def _validate(self, images_per_s: float) -> tuple[Epoch, bool]:
        """Return the epoch's row and whether it is the best so far. Saves the weights if it is."""
        at = self._at

        outputs, truth = self._predict_validation()
        if not torch.isfinite(torch.from_numpy(outputs)).all():
            raise self._build_error("the network's outputs for validation images are not finite")
        row = Epoch(
            epoch=at.epoch + 1,
            step=at.step,
            lr=self._learner.rate(at.step - 1),
            train_loss=sum(at.losses) / len(at.losses),
            validation_loss=self._learner.loss(torch.from_numpy(outputs), torch.from_numpy(truth)),
            mAP=metrics.mean_average_precision(outputs, truth),
            images_per_s=round(images_per_s, 1),
        )
        best = row.mAP > at.best
        if best:
            at.best, at.best_epoch = row.mAP, row.epoch
            if self._processes.first:
                kept = safetensors.torch.save(
                    networks.collect_tensors(self._learner.evaluated_module), {"format": "pt"}
                )
                files.write(self._task.folder / runs.BEST, kept)
        return row, best

    def _predict_validation(self) -> tuple[Scores, Truth]:
        """Return outputs and truth of all validation images, the same in each process."""
        processes, options = self._processes, self._options
        processes.broadcast_weights(self._learner.evaluated_module)
        found = prediction.predict(
            prediction.infer_with_module(self._learner.evaluated_module, options, processes.device),
            self._task.splits.validation.examples[processes.rank :: processes.count],
            self._network,
            batch=options.batch,
            workers=self._task.workers,
        )
        together = prediction.Predictions.concatenate(processes.gather(found))
        for problems in processes.gather(tuple(self._at.skipped)):
            self._note(problems)
        self._note(together.problems)
        if not together.truth.any():
            raise DataInvalid("no readable validation image has a label, so no epoch can be the best: add some")
        return together.outputs, together.truth

    def _note(self, problems: tuple[str, ...]) -> None:
        """Record unreadable images, each once. Raises DataInvalid with --strict."""
        for problem in problems:
            if self._options.strict:
                raise DataInvalid(f"{problem}. Without --strict such images are skipped")
            if problem not in self._at.skipped:
                self._at.skipped.append(problem)
                if self._processes.first:
                    self._observer.on_message(f"skipped {problem}")

    def _build_error(self, what: str) -> TrainingStopped:
        at, folder = self._at, self._task.folder
        kept = (
            f"{folder / runs.BEST} keeps the best so far, epoch {at.best_epoch} with mAP {100 * at.best:.1f}"
            if at.best_epoch
            else "no epoch was finished, so no weights are kept"
        )
        return TrainingStopped(
            f"step {at.step + 1} (epoch {at.epoch + 1}) failed: {what}; {kept}. "
            "Start a new run with a lower --lr, a longer --warmup or --amp off"
        )
