"""Epochs of training: steps, validation, checkpoints, an early end; and going on where another process was killed."""

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
from training.data.loading import Batch, Draw, Pixels, as_served, batches, decoder
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
    """What is to be trained, and where. Nothing here but `run` may change what comes of it."""

    folder: Path
    run: TrainingRun
    splits: Splits
    weights: Path | None
    """Where it begins; None: random."""
    workers: int = 0
    """Processes that decode ahead."""
    save_every: int = 500
    """Steps between two checkpoints within an epoch; there is one after each epoch in any case."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    best: Epoch
    epochs: int
    skipped: tuple[str, ...]
    """Images that could not be read, and why."""


def train(
    task: Task, processes: Processes, observer: TrainingObserver, clock: Callable[[], float] = time.monotonic
) -> TrainingResult:
    """Train until all epochs are done or the mAP no longer rises, from the folder's checkpoint on if there is one.

    Raises TrainingStopped for a loss that is no number and for a checkpoint that cannot be written, RunInvalid for a
    checkpoint of another run, DataInvalid, WeightsInvalid.
    """
    return _Training(task, processes, observer, clock).through()


class _Training:
    def __init__(
        self, task: Task, processes: Processes, observer: TrainingObserver, clock: Callable[[], float]
    ) -> None:
        self._task = task
        self._options = options = task.run.options
        self._processes = processes
        self._observer = observer
        self._clock = clock
        self._examples = task.splits.train.examples
        self._classes = len(task.run.labels)
        self._network: Network = task.run.network()
        self._sampler = Sampler(options.sampler, self._examples, self._classes, options.seed)
        self._batches = self._sampler.length // (options.batch * processes.count)
        if not self._batches:
            raise DataInvalid(
                f"{self._sampler.length} training images are fewer than a batch of {options.batch} in each of "
                f"{processes.count} processes: lower --batch"
            )
        self._steps = math.ceil(self._batches / options.accumulate)
        self._learner = self._new_learner()
        self._at = self._restored() or Checkpoint(task.run.hash, {})

    def through(self) -> TrainingResult:
        at, options = self._at, self._options
        if self._processes.first:
            self._observer.on_start(at.step, self._steps * options.epochs, self._steps)
        while not at.finished:
            self._learn()
            row, best = self._judge()
            at.history.append(row.model_dump())
            at.epoch += 1
            at.losses = []
            at.finished = at.epoch == options.epochs or 0 < options.patience <= at.epoch - at.best_epoch
            self._save()
            if self._processes.first:
                runs.write_history(self._task.folder, [Epoch(**each) for each in at.history])
                self._observer.on_epoch(row, best=best)
        return TrainingResult(Epoch(**at.history[at.best_epoch - 1]), len(at.history), tuple(at.skipped))

    def _new_learner(self) -> Learner:
        options = self._options
        torch.manual_seed(options.seed)  # of the new head, and of all the rest without weights
        module = networks.build_with_labels(self._network, self._task.run.labels, self._task.weights)
        networks.set_label_priors(module, [count / len(self._examples) for count in self._task.splits.train.counts()])
        schedule = Cosine(options.lr, self._steps * options.epochs, round(options.warmup * self._steps))
        return Learner(module, options, schedule, self._processes)

    def _restored(self) -> Checkpoint | None:
        found = checkpoint.load(self._task.folder / runs.LAST, self._task.run.hash)
        if found is not None:
            self._learner.restore(found.learner)
        return found

    def _save(self) -> None:
        if self._processes.first:
            self._at.learner = self._learner.state()
            checkpoint.save(self._at, self._task.folder / runs.LAST)

    def _learn(self) -> None:
        """The rest of the epoch."""
        at = self._at
        self._began = self._clock()
        self._seen = 0
        for parts in self._steps_left():
            try:
                loss = self._learner.step(at.step, parts)
            except NotANumber as problem:
                raise self._stopped(str(problem)) from None
            at.step += 1
            at.losses.append(loss)
            self._seen += sum(len(part.pixels) for part in parts) * self._processes.count
            if self._processes.first:
                self._observer.on_step(at.step, loss, self._learner.rate(at.step - 1))
            if at.step % self._task.save_every == 0 and len(at.losses) < self._steps:
                self._save()

    def _steps_left(self) -> Iterator[list[Batch]]:
        """The batches of each step of this epoch that is not done yet."""
        several = self._options.accumulate
        draws = self._draws()[len(self._at.losses) * several :]
        parts: list[Batch] = []
        for number, batch in enumerate(
            batches(self._examples, self._classes, draws, self._pixels(), replace=True, workers=self._task.workers),
            1,
        ):
            self._note(batch.problems)
            parts.append(batch)
            if len(parts) == several or number == len(draws):
                yield parts
                parts = []

    def _draws(self) -> list[list[Draw]]:
        """This process's batches of this epoch."""
        epoch, size, processes = self._at.epoch, self._options.batch, self._processes
        first = epoch * self._sampler.length
        mine = [Draw(int(index), first + place) for place, index in enumerate(self._sampler.order(epoch))]
        mine = mine[processes.rank :: processes.count]
        return [mine[number * size : (number + 1) * size] for number in range(self._batches)]

    def _pixels(self) -> Pixels:
        options = self._options
        if not options.augment:
            return as_served(self._examples, self._network)
        strength = Strength(
            options.smallest_cut, options.mirror, options.degrees, options.operations, options.magnitude
        )
        return Augmented(
            self._task.splits.train, decoder(self._network.resize), self._network.crop, options.seed, strength
        ).pixels

    def _judge(self) -> tuple[Epoch, bool]:
        """The epoch's line, and whether it is the best so far; then its weights are kept."""
        at = self._at
        rate = self._seen / max(self._clock() - self._began, 1e-9)
        outputs, truth = self._validated()
        if not torch.isfinite(torch.from_numpy(outputs)).all():
            raise self._stopped("the network's outputs for validation images are no numbers")
        row = Epoch(
            epoch=at.epoch + 1,
            step=at.step,
            lr=self._learner.rate(at.step - 1),
            train_loss=sum(at.losses) / len(at.losses),
            validation_loss=self._learner.loss(torch.from_numpy(outputs), torch.from_numpy(truth)),
            mAP=metrics.mean_average_precision(outputs, truth),
            images_per_s=round(rate, 1),
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

    def _validated(self) -> tuple[Scores, Truth]:
        """Outputs for all validation images and their truth, the same in each process."""
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
            raise DataInvalid("no validation image that can be read shows any label: nothing to choose the best by")
        return together.outputs, together.truth

    def _note(self, problems: tuple[str, ...]) -> None:
        """Images that could not be read, each once."""
        for problem in problems:
            if self._options.strict:
                raise DataInvalid(f"{problem}. Without --strict such images are skipped")
            if problem not in self._at.skipped:
                self._at.skipped.append(problem)
                if self._processes.first:
                    self._observer.on_message(f"skipped {problem}")

    def _stopped(self, what: str) -> TrainingStopped:
        at, folder = self._at, self._task.folder
        kept = (
            f"{folder / runs.BEST} keeps the best so far, epoch {at.best_epoch} with mAP {100 * at.best:.1f}"
            if at.best_epoch
            else "no epoch was done, so there is nothing to keep"
        )
        return TrainingStopped(
            f"step {at.step + 1} (epoch {at.epoch + 1}) went wrong: {what}; {kept}. "
            "Begin a new run with a lower --lr, a longer --warmup or --amp off"
        )
