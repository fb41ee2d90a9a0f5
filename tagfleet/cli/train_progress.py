"""The progress of a training: a bar on a terminal, or one line for each epoch in a log."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from training.fit.runs import Epoch


class Progress:
    """Shows the progress of a training, as a `training.fit.observers.TrainingObserver`."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._steps_an_epoch = 1

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def on_start(self, step: int, steps: int, steps_an_epoch: int) -> None:
        if step:
            self.on_message(f"resuming at step {step} of {steps}")
        self._steps_an_epoch = steps_an_epoch
        self._task = self._bars.add_task("training", total=steps, completed=step, note="")

    def on_step(self, step: int, loss: float, rate: float) -> None:
        if self._task is not None:
            epoch = (step - 1) // self._steps_an_epoch + 1
            self._bars.update(
                self._task, completed=step, description=f"epoch {epoch}", note=f"loss {loss:.4f}, rate {rate:.1e}"
            )

    def on_epoch(self, epoch: Epoch, *, best: bool) -> None:
        mark = ", the best so far" if best else ""
        self.on_message(
            f"epoch {epoch.epoch}: loss {epoch.train_loss:.4f}, validation loss {epoch.validation_loss:.4f}, "
            f"mAP {100 * epoch.mAP:.1f}{mark}; {epoch.images_per_s:.0f} images/s"
        )

    def on_message(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, soft_wrap=True)
