"""A small training, with steps of about 10 ms, and an observer that records it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app_tier.models.weights import Places
from core.local.store import LocalStore
from training.fit import starting
from training.fit.loop import Task, TrainingResult, train
from training.fit.options import Options
from training.fit.processes import Processes
from training.fit.runs import Epoch

ALONE = Processes(0, 1, torch.device("cpu"))

OPTIONS: dict[str, Any] = {
    "network": "timm/test_byobnet",
    "image_size": 32,
    "loss": "bce",
    "epochs": 3,
    "batch": 4,
    "accumulate": 2,
    "lr": 0.01,
    "warmup": 0.5,
    "amp": "off",
    "seed": 3,
}


class Killed(BaseException):
    """Ends a training as a signal would; nothing catches it."""


class Recorder:
    """Records all events, and calls `at` with the number of each step."""

    def __init__(self, at: Callable[[int], None] = lambda _: None) -> None:
        self.lines: list[str] = []
        self.losses: dict[int, float] = {}
        self.epochs: list[Epoch] = []
        self.began_at: int | None = None
        self._at = at

    def on_start(self, step: int, steps: int, steps_an_epoch: int) -> None:
        self.began_at = step

    def on_step(self, step: int, loss: float, rate: float) -> None:
        self.losses[step] = loss
        self._at(step)

    def on_epoch(self, epoch: Epoch, *, best: bool) -> None:
        self.epochs.append(epoch)

    def on_message(self, line: str) -> None:
        self.lines.append(line)


def killed_at(step: int) -> Recorder:
    def kill(done: int) -> None:
        if done == step:
            raise Killed

    return Recorder(kill)


def places(folder: Path) -> Places:
    """Return places without any weights."""
    return Places("", folder / "weights", LocalStore(folder / "store"), folder / "cache")


def task(source: Path, folder: Path, recorder: Recorder | None = None, **changed: Any) -> Task:
    """Prepare a training from random weights. Keywords that are not options go to `TrainingRequest`."""
    rest = {name: changed.pop(name) for name in ("save_every", "workers", "splits") if name in changed}
    wanted = starting.TrainingRequest(source, folder, Options(**{**OPTIONS, **changed}), from_scratch=True, **rest)
    return starting.prepare_task(wanted, places(folder.parent), ALONE, (recorder or Recorder()).on_message)


def trained(source: Path, folder: Path, recorder: Recorder | None = None, **changed: Any) -> TrainingResult:
    torch.set_num_threads(1)
    recorder = recorder or Recorder()
    return train(task(source, folder, recorder, **changed), ALONE, recorder)
