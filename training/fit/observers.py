"""Observers of a training: the protocol, a group of several, and a TensorBoard writer."""

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
    """Receives the events of a training as they happen, in the first process only."""

    def on_start(self, step: int, steps: int, steps_an_epoch: int) -> None:
        """Training starts at `step` of `steps`; a `step` above 0 means that it resumes from a checkpoint."""

    def on_step(self, step: int, loss: float, rate: float) -> None:
        """`step` steps are done; `loss` and learning `rate` are those of the last one."""

    def on_epoch(self, epoch: Epoch, *, best: bool) -> None:
        """An epoch is done; `best` says that its mAP is the highest so far."""

    def on_message(self, line: str) -> None:
        """A message for a person, such as a skipped image."""


class ObserverGroup:
    """Passes each event to several observers in turn."""

    def __init__(self, observers: Sequence[TrainingObserver]) -> None:
        self._observers = observers

    def on_start(self, step: int, steps: int, steps_an_epoch: int) -> None:
        for observer in self._observers:
            observer.on_start(step, steps, steps_an_epoch)

    def on_step(self, step: int, loss: float, rate: float) -> None:
        for observer in self._observers:
            observer.on_step(step, loss, rate)

    def on_epoch(self, epoch: Epoch, *, best: bool) -> None:
        for observer in self._observers:
            observer.on_epoch(epoch, best=best)

    def on_message(self, line: str) -> None:
        for observer in self._observers:
            observer.on_message(line)


class TensorBoardObserver:
    """Writes scalars for TensorBoard into the run's folder. A resumed training replaces the steps that it repeats.

    If writing fails, as on a full disk, `say` gets one line and the training continues without TensorBoard. Events are
    written in the calling thread: tensorboardX's SummaryWriter uses a thread of its own, and waits for it forever once
    a full disk has ended it.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._folder = folder / BOARD
        self._say = say
        self._clock = clock
        self._records: RecordWriter | None = None

    def __enter__(self) -> TensorBoardObserver:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._left_if_full():
            if self._records:
                self._records.close()

    def on_start(self, step: int, steps: int, steps_an_epoch: int) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog  # imported here because it takes half a second
        from tensorboardX.record_writer import RecordWriter

        name = f"events.out.tfevents.{self._clock():.0f}.{socket.gethostname()}.{os.getpid()}"
        with self._left_if_full():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(str(self._folder / name))
        self._add(file_version="brain.Event:2")
        if step:
            self._add(step + 1, session_log=SessionLog(status=SessionLog.START))
        self._flush()

    def on_step(self, step: int, loss: float, rate: float) -> None:
        self._scalar("train/loss", loss, step)
        self._scalar("train/learning_rate", rate, step)

    def on_epoch(self, epoch: Epoch, *, best: bool) -> None:
        self._scalar("validation/mAP", epoch.mAP, epoch.step)
        self._scalar("validation/loss", epoch.validation_loss, epoch.step)
        self._scalar("train/images_per_s", epoch.images_per_s, epoch.step)
        self._flush()

    def on_message(self, line: str) -> None:
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
            with suppress(OSError):  # closing writes what is still buffered
                if records:
                    records.close()
            self._say(f"no longer writing TensorBoard files to {self._folder}: {error.strerror}. Training continues")
