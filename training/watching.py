"""Who follows a training: a progress bar, TensorBoard, a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from training.runs import BOARD, Epoch


class Watch(Protocol):
    """Told of what happens, in the first process alone, as it happens."""

    def began(self, step: int, steps: int, steps_an_epoch: int) -> None:
        """At step number `step` of so many in all; above 0 it goes on from a checkpoint."""

    def stepped(self, step: int, loss: float, rate: float) -> None:
        """`step` steps are done; the loss is the last one's."""

    def judged(self, epoch: Epoch, *, best: bool) -> None:
        """An epoch is done; `best` if no earlier one had as high an mAP."""

    def said(self, line: str) -> None:
        """Something that a person should know."""


class Together:
    """Several, one after the other."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches

    def began(self, step: int, steps: int, steps_an_epoch: int) -> None:
        for watch in self._watches:
            watch.began(step, steps, steps_an_epoch)

    def stepped(self, step: int, loss: float, rate: float) -> None:
        for watch in self._watches:
            watch.stepped(step, loss, rate)

    def judged(self, epoch: Epoch, *, best: bool) -> None:
        for watch in self._watches:
            watch.judged(epoch, best=best)

    def said(self, line: str) -> None:
        for watch in self._watches:
            watch.said(line)


class Board:
    """Scalars for TensorBoard under a run's folder. What a resumption computes again replaces what was there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / BOARD

    def began(self, step: int, steps: int, steps_an_epoch: int) -> None:
        from tensorboardX import SummaryWriter  # half a second that a command's help need not wait for

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)

    def stepped(self, step: int, loss: float, rate: float) -> None:
        self._writer.add_scalar("train/loss", loss, step)
        self._writer.add_scalar("train/learning_rate", rate, step)

    def judged(self, epoch: Epoch, *, best: bool) -> None:
        self._writer.add_scalar("validation/mAP", epoch.mAP, epoch.step)
        self._writer.add_scalar("validation/loss", epoch.validation_loss, epoch.step)
        self._writer.add_scalar("train/images_per_s", epoch.images_per_s, epoch.step)
        self._writer.flush()

    def said(self, line: str) -> None:
        self._writer.add_text("said", line)
