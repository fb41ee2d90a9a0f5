"""Observers of a training: a progress bar, TensorBoard, a test."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from training.fit.runs import BOARD, Epoch

if TYPE_CHECKING:
    from tensorboardX.record_writer import RecordWriter


class TrainingObserver(Protocol):
    """Gets each event as it happens, in the first process only."""

    def began(self, step: int, steps: int, steps_an_epoch: int) -> None:
        """The training begins at `step` of `steps`; above 0 it continues from a checkpoint."""

    def stepped(self, step: int, loss: float, rate: float) -> None:
        """`step` steps are done; the loss is that of the last one."""

    def judged(self, epoch: Epoch, *, best: bool) -> None:
        """An epoch is done; `best` if no earlier one had as high an mAP."""

    def said(self, line: str) -> None:
        """Something that a person should know."""


class ObserverGroup:
    """Several observers, one after the other."""

    def __init__(self, watches: Sequence[TrainingObserver]) -> None:
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
    """Writes scalars for TensorBoard under a run's folder. What a resumption computes again replaces the old values.

    Where writing fails, on a full disk say, `say` gets one line and the training continues without them. Events are
    written in the calling thread: tensorboardX's SummaryWriter uses a thread of its own, and waits for it forever once
    a full disk has ended it.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._folder = folder / BOARD
        self._say = say
        self._clock = clock
        self._records: RecordWriter | None = None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._left_if_full():
            if self._records:
                self._records.close()

    def began(self, step: int, steps: int, steps_an_epoch: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog  # half a second that a command's help need not wait for
        from tensorboardX.record_writer import RecordWriter

        name = f"events.out.tfevents.{self._clock():.0f}.{socket.gethostname()}.{os.getpid()}"
        with self._left_if_full():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(str(self._folder / name))
        self._add(file_version="brain.Event:2")
        if step:
            self._add(step + 1, session_log=SessionLog(status=SessionLog.START))
        self._flush()

    def stepped(self, step: int, loss: float, rate: float) -> None:
        self._scalar("train/loss", loss, step)
        self._scalar("train/learning_rate", rate, step)

    def judged(self, epoch: Epoch, *, best: bool) -> None:
        self._scalar("validation/mAP", epoch.mAP, epoch.step)
        self._scalar("validation/loss", epoch.validation_loss, epoch.step)
        self._scalar("train/images_per_s", epoch.images_per_s, epoch.step)
        self._flush()

    def said(self, line: str) -> None:
        from tensorboardX.summary import text

        self._add(summary=text("said", line))

    def _scalar(self, name: str, value: float, step: int) -> None:
        from tensorboardX.summary import scalar

        self._add(step, summary=scalar(name, value))

    def _add(self, step: int = 0, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._left_if_full():
            if self._records:
                self._records.write(Event(wall_time=self._clock(), step=step, **what).SerializeToString())

    def _flush(self) -> None:
        with self._left_if_full():
            if self._records:
                self._records.flush()

    @contextmanager
    def _left_if_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            records, self._records = self._records, None
            with suppress(OSError):  # it would write what it still holds
                if records:
                    records.close()
            self._say(f"TensorBoard gets nothing more: {self._folder}: {error.strerror}. The training goes on")
