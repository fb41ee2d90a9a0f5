"""The training loop: epochs of steps, validation, checkpoints, early stopping, and resumption after a kill."""

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
from training import metrics
from training.data import files
from training.data.augmentation import Augmented, Strength
from training.data.loading import Batch, Draw, Pixels, as_served, batches, decoder
from training.data.splits import Splits
from training.fit import checkpoint, networks, prediction, runs
from training.fit.checkpoint import Checkpoint
from training.fit.learner import Learner, NotANumber
from training.fit.observers import TrainingObserver
from training.fit.processes import Processes
from training.fit.runs import Epoch, Run
from training.fit.sampling import Sampler
from training.fit.schedule import Cosine
from training.metrics import Scores, Truth


@dataclass(frozen=True, slots=True)
class Task:
    """What to train and where. Only `run` may change the outcome."""

    folder: Path
    run: Run
    splits: Splits
    weights: Path | None
    """The first weights; None: random ones."""
    workers: int = 0
    """Number of processes that decode ahead."""
    save_every: int = 500
    """Steps between two checkpoints within an epoch. Each epoch ends with one in any case."""


@dataclass(frozen=True, slots=True)
class Outcome:
    best: Epoch
    epochs: int
    skipped: tuple[str, ...]
    """Images that could not be read, with the reason."""


def train(
    task: Task, processes: Processes, observer: TrainingObserver, clock: Callable[[], float] = time.monotonic
) -> Outcome:
    """Train until all epochs are done or the mAP stops rising; continue from the folder's checkpoint if there is one.

    Raises TrainingStopped where the loss is not finite or a checkpoint cannot be written, RunInvalid for a checkpoint
    of another run, DataInvalid, WeightsInvalid.
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

    def through(self) -> Outcome:
        at, options = self._at, self._options
        if self._processes.first:
            self._observer.began(at.step, self._steps * options.epochs, self._steps)
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
                self._observer.judged(row, best=best)
        return Outcome(Epoch(**at.history[at.best_epoch - 1]), len(at.history), tuple(at.skipped))

    def _new_learner(self) -> Learner:
        options = self._options
        torch.manual_seed(options.seed)  # of the new head, and of all the rest without weights
        module = networks.with_labels(self._network, self._task.run.labels, self._task.weights)
        networks.expect(module, [count / len(self._examples) for count in self._task.splits.train.counts()])
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
        """Run the rest of the epoch."""
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
                self._observer.stepped(at.step, loss, self._learner.rate(at.step - 1))
            if at.step % self._task.save_every == 0 and len(at.losses) < self._steps:
                self._save()

    def _steps_left(self) -> Iterator[list[Batch]]:
        """Yield the batches of each remaining step of this epoch."""
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
        """Yield this process's batches of this epoch."""
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
        """Validate; return the epoch's line and whether it is the best so far, in which case keep its weights."""
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
                kept = safetensors.torch.save(networks.tensors(self._learner.judged), {"format": "pt"})
                files.write(self._task.folder / runs.BEST, kept)
        return row, best

    def _validated(self) -> tuple[Scores, Truth]:
        """Return the outputs and the truth of all validation images, the same in each process."""
        processes, options = self._processes, self._options
        processes.align(self._learner.judged)
        found = prediction.answers(
            prediction.of_module(self._learner.judged, options, processes.device),
            self._task.splits.validation.examples[processes.rank :: processes.count],
            self._network,
            batch=options.batch,
            workers=self._task.workers,
        )
        together = prediction.Answers.joined(processes.gathered(found))
        for problems in processes.gathered(tuple(self._at.skipped)):
            self._note(problems)
        self._note(together.problems)
        if not together.truth.any():
            raise DataInvalid("no validation image that can be read shows any label: nothing to choose the best by")
        return together.outputs, together.truth

    def _note(self, problems: tuple[str, ...]) -> None:
        """Images that could not be read, without repetition."""
        for problem in problems:
            if self._options.strict:
                raise DataInvalid(f"{problem}. Without --strict such images are skipped")
            if problem not in self._at.skipped:
                self._at.skipped.append(problem)
                if self._processes.first:
                    self._observer.said(f"skipped {problem}")

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
